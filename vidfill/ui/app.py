"""The requests of the page, each one call of `Project`. Nothing in a request is ever used as a path."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from vidfill.errors import BusyError, InputError, UsageError, VidfillError
from vidfill.ui.project import Project
from vidfill.ui.views import error_view, mask_view, state_view, track_view

# The page's own files, by the only names that are answered: name -> (file, MIME type).
_PAGE = {
    "": ("index.html", "text/html"),
    "style.css": ("style.css", "text/css"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}
_PAGE |= {
    name: (name, "text/javascript")
    for name in ("app.js", "api.js", "prompts.js", "stage.js", "timeline.js", "panels.js")
}
_STATUS = {BusyError: 409, InputError: 404}


class TrackRequest(BaseModel):
    """How to track."""

    shadow: bool = False


class PreviewRequest(BaseModel):
    """Which frames to fill, half-open."""

    start: Annotated[int, Field(ge=0)]
    stop: Annotated[int, Field(ge=1)]
    dilate: Annotated[int, Field(ge=0, le=100)] | None = None


class RemoveRequest(BaseModel):
    """How to remove."""

    dilate: Annotated[int, Field(ge=0, le=100)] | None = None
    allow_lost: bool = False


def make_app(project: Project) -> FastAPI:
    """The page and its requests, without any guard."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    for kind in (VidfillError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _answer_error)
    _serve_page(app)
    _serve_pictures(app, project)
    _serve_work(app, project)
    _serve_downloads(app, project)
    return app


def _answer_error(request: Request, error: Exception) -> JSONResponse:
    """Answer any error with a JSON object that describes it."""
    if isinstance(error, VidfillError):
        known, status = error, _STATUS.get(type(error), 400)
    elif isinstance(error, RequestValidationError):
        fault = error.errors()[0]
        known, status = UsageError(f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"), 422
    elif isinstance(error, HTTPException):
        known, status = UsageError(error.detail), error.status_code
    else:
        known, status = VidfillError(f"internal error: {type(error).__name__}: {error}"), 500
    return JSONResponse({"error": error_view(known)}, status)


def _serve_page(app: FastAPI) -> None:
    folder = files("vidfill.ui") / "page"
    pages = {name: ((folder / file).read_bytes(), kind) for name, (file, kind) in _PAGE.items()}

    @app.get("/")
    @app.get("/{name}")
    def page(name: str = "") -> Response:
        if name not in pages:
            raise HTTPException(404, "no such page")
        return Response(pages[name][0], media_type=pages[name][1])


def _serve_pictures(app: FastAPI, project: Project) -> None:
    def jpeg(data: bytes, index: int) -> Response:
        time_s = float(project.opened().timeline.time_s(index))
        return Response(data, media_type="image/jpeg", headers={"x-time-s": f"{time_s:.6f}"})

    @app.get("/api/frames/{index}")
    def frame(index: int) -> Response:
        return jpeg(project.picture(index).jpeg, index)

    @app.get("/api/filled/{index}")
    def filled(index: int) -> Response:
        return jpeg(project.filled(index), index)

    @app.get("/api/result/{index}")
    def result(index: int) -> Response:
        return jpeg(project.finished().pictures.at(index).jpeg, index)

    @app.get("/api/masks/{index}")
    def mask(index: int) -> dict[str, Any]:
        return mask_view(project.mask(index))


def _serve_work(app: FastAPI, project: Project) -> None:
    @app.get("/api/state")
    def state() -> dict[str, Any]:
        return state_view(project)

    @app.put("/api/prompts")
    def prompts(wanted: dict[str, Any]) -> dict[str, Any]:
        try:
            text = json.dumps(wanted, allow_nan=False)
        except ValueError as error:
            raise UsageError("a number that is not finite", expected="coordinates in pixels") from error
        project.set_prompts(text)
        return state_view(project)

    @app.get("/api/track")
    def track() -> dict[str, Any]:
        return track_view(project.followed().track)

    @app.post("/api/track", status_code=202)
    def start_tracking(wanted: TrackRequest) -> dict[str, Any]:
        project.start_tracking(shadow=wanted.shadow)
        return state_view(project)

    @app.post("/api/preview", status_code=202)
    def start_preview(wanted: PreviewRequest) -> dict[str, Any]:
        project.start_preview(range(wanted.start, wanted.stop), dilate=wanted.dilate)
        return state_view(project)

    @app.post("/api/remove", status_code=202)
    def start_removal(wanted: RemoveRequest) -> dict[str, Any]:
        project.start_removal(dilate=wanted.dilate, allow_lost=wanted.allow_lost)
        return state_view(project)

    @app.post("/api/cancel", status_code=202)
    def cancel() -> dict[str, Any]:
        project.jobs.cancel()
        return state_view(project)


def _serve_downloads(app: FastAPI, project: Project) -> None:
    @app.get("/download/result")
    def result() -> FileResponse:
        path = project.finished().result.output
        if path.is_dir():
            raise InputError(f"the result is the folder {path}", todo="take it from there")
        if not path.exists():
            raise InputError("the result is not there any more", expected=str(path), todo="remove again")
        return FileResponse(path, filename=path.name)

    @app.get("/download/masks")
    def masks() -> StreamingResponse:
        name = f"{project.source.stem}-masks.zip"
        return StreamingResponse(project.masks_zip(), media_type="application/zip", headers=_as_file(name))

    @app.get("/download/prompts")
    def prompts() -> Response:
        headers = _as_file(project.prompts_file.name)
        return Response(project.prompts.to_json(), media_type="application/json", headers=headers)


def _as_file(name: str) -> dict[str, str]:
    """The header that makes a browser save the answer as a file of this name."""
    plain = "".join(letter if " " <= letter <= "~" and letter not in '"\\' else "_" for letter in name)
    return {"content-disposition": f'attachment; filename="{plain}"'}
