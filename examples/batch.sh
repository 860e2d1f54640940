#!/bin/sh
# Remove objects from all videos of a folder with a plain loop: batch.sh VIDEOS OUT [options of vidfill remove]
#
# The mask of clip.mp4 is in clip_masks/ beside it. What is done is passed over, so the script can be stopped and run
# again; an interrupted removal goes on where it was. `vidfill batch` does the same with several workers and a report.
# Codes: 0 all done, 8 some videos failed (they are named), 130 or 143 stopped; others: none could be done.
videos=${1:?which folder of videos?} out=${2:?which folder for the outputs?}
shift 2
[ -d "$videos" ] || { echo "no folder $videos" >&2; exit 3; }
mkdir -p "$out" || exit 5
failed=0
for video in "$videos"/*.mp4 "$videos"/*.mov "$videos"/*.mkv; do
    [ -e "$video" ] || continue # a pattern that matched nothing stands for itself
    name=${video##*/}
    vidfill remove "$video" --mask "${video%.*}_masks" -o "$out/${name%.*}_filled.${name##*.}" \
        --skip-existing --resume --quiet "$@"
    code=$?
    case $code in
        0) echo "done    $name" ;;
        2 | 6 | 126 | 127) exit $code ;;   # wrong options, no weights, no vidfill: the next would fail as well
        130 | 143) exit $code ;;           # Ctrl-C or SIGTERM
        3) why="cannot be read" ;;
        4) why="something is wrong with its masks" ;;
        5) why="its output cannot be written" ;;
        7) why="memory or device" ;;
        *) why="code $code" ;;
    esac
    [ $code -eq 0 ] || { echo "failed  $name: $why"; failed=$((failed + 1)); }
done
[ $failed -eq 0 ] || { echo "$failed failed" >&2; exit 8; }
