"""What stands beside the picture: sound, subtitles, attachments, covers, chapters, metadata."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from tests import clips
from tests.video.rewriting import FAST, FFV1, describe, ffmpeg, frame_times, packets_of, read_all, rewrite
from vidfill.settings import EncodeSettings
from vidfill.video.streams import StreamCopier, plan_routes


@pytest.mark.parametrize("output", ["out.mp4", "out.mov", "out.mkv"])
def test_two_audio_tracks(tmp_path: Path, output: str) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", audio_tracks=2, vfr=True)
    assert all("rounded" in warning for warning in rewrite(clip.path, tmp_path / output, FAST))
    before, after = packets_of(clip.path, "audio"), packets_of(tmp_path / output, "audio")
    assert len(before) == 2
    assert [[digest for digest, _ in track] for track in after] == [[digest for digest, _ in track] for track in before]
    if output != "out.mkv":  # in whole milliseconds and from 0 there
        assert after == before
    with av.open(str(tmp_path / output)) as container:
        first, second = container.streams.audio
        assert first.metadata["language"] == "eng"
        assert second.metadata["language"] == ("ger" if output == "out.mov" else "deu")  # QuickTime's word for it


def test_sound_offset_in_matroska(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", audio_tracks=1)  # its sound starts before 0
    rewrite(clip.path, tmp_path / "out.mkv", FAST)

    def lead_s(path: Path) -> float:
        sound = packets_of(path, "audio")[0][0][1]
        assert sound is not None
        return float(frame_times(path)[0] - sound)

    assert lead_s(tmp_path / "out.mkv") == pytest.approx(lead_s(clip.path), abs=0.002)


def test_edit_list(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=40, gop=10, audio_tracks=2)
    trimmed = tmp_path / "trimmed.mp4"
    ffmpeg("-ss", "0.9", "-i", clip.path, "-map", "0", "-c", "copy", trimmed)
    rewrite(trimmed, tmp_path / "out.mp4", FAST)
    assert min(time for _, time in packets_of(trimmed, "audio")[0] if time is not None) < 0
    assert packets_of(tmp_path / "out.mp4", "audio") == packets_of(trimmed, "audio")
    assert frame_times(tmp_path / "out.mp4") == frame_times(trimmed)


def test_text_and_attachment_in_matroska(tmp_path: Path) -> None:
    clip = clips.write_clip(
        tmp_path / "in.mkv", subtitles=True, attachment=True, chapters=True, audio_tracks=1, metadata={"title": "Tide"}
    )
    assert rewrite(clip.path, tmp_path / "out.mkv", FAST) == []
    assert packets_of(tmp_path / "out.mkv", "subtitle") == packets_of(clip.path, "subtitle")
    with av.open(str(tmp_path / "out.mkv")) as container:
        attachment = container.streams.attachments[0]
        assert attachment.data == b"an attachment"
        assert (attachment.metadata["filename"], attachment.mimetype) == ("note.txt", "text/plain")
        assert container.metadata["title"] == "Tide"
        assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["one", "two"]


@pytest.mark.parametrize(("source", "output"), [("in.mp4", "out.mkv"), ("in.mkv", "out.mp4"), ("in.mkv", "out.webm")])
def test_text_between_containers(tmp_path: Path, source: str, output: str) -> None:
    clip = clips.write_clip(tmp_path / source, subtitles=True)
    warnings = rewrite(clip.path, tmp_path / output)
    assert any("subtitle" in warning for warning in warnings) == (source == "in.mp4")
    ffmpeg("-i", tmp_path / output, tmp_path / "text.srt")
    lines = (tmp_path / "text.srt").read_text().splitlines()
    assert lines[2] == "first line"
    assert "second line" in lines


def test_gaps_of_mov_text(tmp_path: Path) -> None:
    """mp4 fills the time between two lines with empty samples."""
    source = tmp_path / "in.srt"
    source.write_text("1\n00:00:00,100 --> 00:00:00,300\nfirst\n\n2\n00:00:00,700 --> 00:00:00,900\nsecond\n\n")
    clip = clips.write_clip(tmp_path / "plain.mp4", n=30)
    ffmpeg(
        "-i", clip.path, "-i", source, "-map", "0", "-map", "1", "-c", "copy", "-c:s", "mov_text", tmp_path / "in.mp4"
    )
    rewrite(tmp_path / "in.mp4", tmp_path / "out.mkv", FAST)
    ffmpeg("-i", tmp_path / "out.mkv", tmp_path / "text.srt")
    assert (tmp_path / "text.srt").read_text() == source.read_text()


@pytest.mark.parametrize("output", ["out.mp4", "out.mov", "out.mkv"])
def test_chapters_and_metadata(tmp_path: Path, output: str) -> None:
    clip = clips.write_clip(
        tmp_path / "in.mp4", chapters=True, audio_tracks=1, metadata={"title": "Tide", "comment": "low"}
    )
    assert rewrite(clip.path, tmp_path / output, FAST) == []
    said = describe(tmp_path / output)
    assert said.count("Chapter #") == 2
    assert "title           : Tide" in said and "low" in said
    rewrite(tmp_path / output, tmp_path / f"again_{output}", FAST)
    assert describe(tmp_path / f"again_{output}").count("Chapter #") == 2
    assert describe(tmp_path / f"again_{output}").count("Stream #") == said.count("Stream #")


def test_webm_drops_aac(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=6, audio_tracks=2)
    warnings = rewrite(clip.path, tmp_path / "out.webm")
    assert "audio stream 1 (aac, eng) is dropped: webm cannot carry it" in warnings
    assert "audio stream 2 (aac, deu) is dropped: webm cannot carry it" in warnings
    assert packets_of(tmp_path / "out.webm", "audio") == []


def test_webm_keeps_opus(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "in.webm", n=6, codec="libvpx-vp9", b_frames=0, audio_tracks=1)
    assert rewrite(clip.path, tmp_path / "out.webm") == []
    assert packets_of(tmp_path / "out.webm", "audio") == packets_of(clip.path, "audio")


def test_mp4_drops_attachment(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "in.mkv", n=6, attachment=True, subtitles=True)
    warnings = rewrite(clip.path, tmp_path / "out.mp4", FAST)
    assert len(warnings) == 1
    assert warnings[0].startswith("attachment stream 2") and "mp4 cannot carry it" in warnings[0]


def test_container_without_chapters(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=6, chapters=True)
    assert "2 chapters are dropped: avi has none" in rewrite(clip.path, tmp_path / "out.avi", FFV1)


def test_dispositions_titles_languages(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "plain.mkv", n=10, audio_tracks=2, subtitles=True)
    source = tmp_path / "in.mkv"
    ffmpeg(
        *("-i", clip.path, "-map", "0", "-c", "copy", "-disposition:a:0", "0", "-disposition:a:1", "default+comment"),
        *("-disposition:s:0", "forced", "-metadata:s:s:0", "language=ita", "-metadata:s:a:1", "title=director"),
        source,
    )
    rewrite(source, tmp_path / "out.mkv", FAST)
    with av.open(str(source)) as before, av.open(str(tmp_path / "out.mkv")) as after:
        for first, second in zip(before.streams, after.streams, strict=True):
            assert int(second.disposition) == int(first.disposition)
            assert second.metadata.get("language") == first.metadata.get("language")
            assert second.metadata.get("title") == first.metadata.get("title")
        assert after.streams.audio[1].metadata["title"] == "director"


def cover_clip(tmp_path: Path, name: str) -> Path:
    """A clip with cover art, made by the independent ffmpeg."""
    clip = clips.write_clip(tmp_path / f"plain_{name}", n=6, audio_tracks=1)
    clips.write_images(tmp_path / "cover", clip.pictures[:1])
    picture = tmp_path / "cover" / "00000.png"
    if name.endswith(".mkv"):
        options = ["-map", "0", "-c", "copy", "-attach", str(picture), "-metadata:s:t", "mimetype=image/png"]
        ffmpeg("-i", clip.path, *options, tmp_path / name)
    else:
        options = ["-map", "0", "-map", "1", "-c", "copy", "-disposition:v:1", "attached_pic"]
        ffmpeg("-i", clip.path, "-i", picture, *options, tmp_path / name)
    return tmp_path / name


@pytest.mark.parametrize("output", ["out.mp4", "out.mkv"])
@pytest.mark.parametrize("source", ["in.mp4", "in.mkv"])
def test_cover_art(tmp_path: Path, source: str, output: str) -> None:
    path = cover_clip(tmp_path, source)
    assert rewrite(path, tmp_path / output, FAST) == []
    said = describe(tmp_path / output)
    assert "(attached pic)" in said and "png" in said
    assert len(frame_times(tmp_path / output)) == 6
    ffmpeg("-i", tmp_path / output, "-map", "0:v:1", "-c", "copy", "-f", "image2", tmp_path / "found.png")
    assert (tmp_path / "found.png").read_bytes() == (tmp_path / "cover" / "00000.png").read_bytes()


def test_second_video_stream(tmp_path: Path) -> None:
    first = clips.write_clip(tmp_path / "a.mp4", n=10)
    second = clips.write_clip(tmp_path / "b.mp4", n=10, seed=7, size=(48, 64))
    source = tmp_path / "in.mkv"
    ffmpeg("-i", first.path, "-i", second.path, "-map", "0", "-map", "1", "-c", "copy", source)
    rewrite(source, tmp_path / "out.mkv", FAST)
    before, after = packets_of(source, "video"), packets_of(tmp_path / "out.mkv", "video")
    assert [digest for digest, _ in after[1]] == [digest for digest, _ in before[1]]


class Damaged:
    """An open source that cannot be read after its first packet of sound."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self.streams, self.name = source.streams, source.name

    def demux(self, streams: object) -> Iterator[Any]:
        yield next(self._source.demux(self.streams[1]))
        raise av.error.InvalidDataError(1, "Invalid data found")


def test_damaged_source(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clip = clips.write_clip(tmp_path / "in.mkv", n=10, audio_tracks=1)
    with av.open(str(clip.path)) as source, av.open(str(tmp_path / "out.mkv"), "w") as target:
        copier = StreamCopier(Damaged(source), target, plan_routes(source, "matroska", 0), 0)  # type: ignore[arg-type]
        copier.add(1)
        copier.copy_until(None)
    assert len(packets_of(tmp_path / "out.mkv", "audio")[0]) == 1
    assert "is damaged: its other streams end here (Invalid data found)" in caplog.text


@pytest.mark.parametrize("output", ["out.mp4", "out.mov", "out.mkv"])
def test_timecode(tmp_path: Path, output: str) -> None:
    clip = clips.write_clip(tmp_path / "plain.mp4", n=6)
    ffmpeg("-i", clip.path, "-c", "copy", "-timecode", "01:02:03:04", tmp_path / "in.mov")
    assert rewrite(tmp_path / "in.mov", tmp_path / output, FAST) == []
    said = describe(tmp_path / output).lower()
    assert "01:02:03:04" in said
    assert ("tmcd" in said) == (output != "out.mkv")


def test_interleaving(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=120, size=(32, 48), audio_tracks=1)
    rewrite(clip.path, tmp_path / "out.mkv", FAST)
    with av.open(str(tmp_path / "out.mkv")) as container:
        kinds = "".join("v" if p.stream.type == "video" else "a" for p in container.demux() if p.size)
    assert "a" * 60 not in kinds and "v" * 60 not in kinds


def test_source_without_interleaving(tmp_path: Path) -> None:
    """All sound behind all pictures in the file: times are what counts, not the order of the packets."""
    clip = clips.write_clip(tmp_path / "in.mp4", n=50, size=(32, 48), audio_tracks=1)
    with av.open(str(clip.path)) as source, av.open(str(tmp_path / "apart.nut"), "w") as target:
        packets = [packet for packet in source.demux() if packet.size]
        outputs = {s.index: target.add_stream_from_template(s) for s in source.streams if s.type in ("audio", "video")}
        for kind in ("video", "audio"):
            for packet in packets:
                if packet.stream.type == kind:
                    packet.stream = outputs[packet.stream.index]
                    target.mux_one(packet)
    rewrite(tmp_path / "apart.nut", tmp_path / "out.mkv", FAST)
    digests = [digest for digest, _ in packets_of(clip.path, "audio")[0]]
    assert [digest for digest, _ in packets_of(tmp_path / "out.mkv", "audio")[0]] == digests


def test_sound_longer_than_picture(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "long.mp4", n=50, size=(32, 48), audio_tracks=1)
    short = clips.write_clip(tmp_path / "short.mp4", n=10, size=(32, 48))
    source = tmp_path / "in.mp4"
    ffmpeg("-i", short.path, "-i", clip.path, "-map", "0:v", "-map", "1:a", "-c", "copy", source)
    rewrite(source, tmp_path / "out.mp4", FAST)
    assert packets_of(tmp_path / "out.mp4", "audio") == packets_of(source, "audio")
    assert Fraction(2) - 1 < (packets_of(tmp_path / "out.mp4", "audio")[0][-1][1] or 0)


def test_transport_stream(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "in.mp4", n=12, audio_tracks=1)
    ffmpeg("-i", clip.path, "-map", "0:v", "-map", "0:a", "-c", "copy", tmp_path / "in.ts")
    rewrite(tmp_path / "in.ts", tmp_path / "out.mp4", EncodeSettings(preset="ultrafast"))
    assert len(packets_of(tmp_path / "out.mp4", "audio")[0]) == len(packets_of(tmp_path / "in.ts", "audio")[0])
    assert len(frame_times(tmp_path / "out.mp4")) == 12


def test_streams_that_appear_late(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A program stream says of no stream before its first packet, and FFmpeg looks only so far ahead."""
    noise = ["-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=0.8,noise=alls=100:allf=t"]
    sound = ["-f", "lavfi", "-i", "sine=duration=0.8"]
    codecs = ["-c:v", "mpeg2video", "-g", "1", "-q:v", "1", "-c:a", "ac3", "-f", "vob"]
    ffmpeg(*noise, *codecs, tmp_path / "silent.mpg")
    ffmpeg(*noise, *sound, *codecs, tmp_path / "loud.mpg")
    silent, loud = ((tmp_path / name).read_bytes() for name in ("silent.mpg", "loud.mpg"))
    n_before = 6_000_000 // len(silent) + 1  # FFmpeg probes 5 MB
    (tmp_path / "in.mpg").write_bytes(silent * n_before + loud + silent)
    with av.open(str(tmp_path / "in.mpg")) as source:
        assert len(source.streams) == 1
    n_frames = len(read_all(tmp_path / "in.mpg"))
    assert n_frames == 20 * (n_before + 2)
    rewrite(tmp_path / "in.mpg", tmp_path / "out.mp4", FAST)
    assert "streams that appear in the middle of" in caplog.text
    assert len(read_all(tmp_path / "out.mp4")) == n_frames


def test_sound_of_unknown_codec(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "known.mkv", n=5, audio_tracks=1)
    (tmp_path / "in.mkv").write_bytes(clip.path.read_bytes().replace(b"A_AAC", b"A_XYZ"))
    warnings = rewrite(tmp_path / "in.mkv", tmp_path / "out.mkv", FAST)
    assert warnings == ["audio stream 1 (eng) is dropped: matroska cannot carry it"]
    assert len(read_all(tmp_path / "out.mkv")) == 5
