// Requests to the server. Addresses are relative to that of the page, which contains the token.

export class ApiError extends Error {}

async function ask(path, options) {
  const response = await fetch(path, options).catch(() => {
    throw new ApiError("vidfill ui no longer answers; is it still running?");
  });
  if (response.ok) return response;
  const content = await response.json().catch(() => null); // null: not JSON, only the status is known
  throw new ApiError(content?.error.message ?? `the server answered ${response.status}`);
}

export async function get(path) {
  return (await ask(`api/${path}`)).json();
}

// A frame: its picture and its time in seconds.
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
