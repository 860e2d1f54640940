"""The page of `vidfill ui`: click on an object, see its mask, follow it, look at the fill, remove it.

`project` is what the page does, without HTTP; `app` is its requests; `guard` says who may ask; `server` runs it.
The files of the page lie in `page/`, as they are served.
"""
