// Requests to the server. Addresses are relative to the page, whose own holds the token.

export class ApiError extends Error {}

async function answer(response) {
  if (response.ok) return response;
  let message = `the server answered ${response.status}`;
  try {
    message = (await response.json()).error.message;
  } catch {
    // Not JSON: the status says all there is.
  }
  throw new ApiError(message);
}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new ApiError("vidfill ui no longer answers; is it still running?");
  }
  return answer(response);
}

export async function get(path) {
  return (await ask(`api/${path}`)).json();
}

// A frame: its picture, and when it is shown.
export async function picture(path) {
  const response = await ask(path);
  return { bitmap: await createImageBitmap(await response.blob()), time: Number(response.headers.get("x-time-s")) };
}

export async function decoded(dataUrl) {
  const image = new Image();
  image.src = dataUrl;
  await image.decode();
  return image;
}

export async function send(method, path, content = {}) {
  const headers = { "content-type": "application/json" };
  return (await ask(`api/${path}`, { method, headers, body: JSON.stringify(content) })).json();
}
