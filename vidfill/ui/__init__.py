"""The page of `vidfill ui`: click on an object, see its mask, track it, preview the fill, remove it.

`project` is what the page does, without HTTP; `app` has its requests; `guard` says who may ask; `server` runs it.
The files of the page are in `page/`, as they are served.
"""
