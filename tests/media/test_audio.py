"""Sound through its public face: clips, statistics, refusals."""

import numpy as np
import pytest

from pandagpt.errors import InvalidMedia, MediaTooLarge
from pandagpt.media import audio
from pandagpt.media.limits import MediaLimits
from pandagpt.media.options import MediaOptions
from tests.media.made import film, sound, tone, wav

PAD = np.float32(4.268 / 9.138)


def load(data: bytes, limits: MediaLimits | None = None) -> np.ndarray:
    return audio.load(data, MediaOptions(), limits or MediaLimits())


def test_shape_and_padding() -> None:
    mel = load(wav(tone(7.3, 44_100, 2), 44_100))
    assert mel.shape == (3, 1, 128, 204)
    assert mel.dtype == np.float32
    assert np.allclose(mel[..., 198:], PAD)
    assert not np.allclose(mel[..., :198], PAD)


def test_a_short_sound_is_repeated_not_filled_with_silence() -> None:
    mel = load(wav(tone(1)))
    assert np.allclose(mel[0], mel[1], atol=1e-4)
    assert np.allclose(mel[..., 98:], PAD)


def test_only_the_first_channel_is_seen_but_all_share_one_mean() -> None:
    left, right = tone(2), tone(2)[:, ::-1] * 0
    alone, beside = (
        audio.audio_array(left, 16_000),
        audio.audio_array(np.vstack([left, right]), 16_000),
    )
    assert np.allclose(alone, beside, atol=1e-3)


def test_overlapping_clips_see_what_earlier_ones_shifted() -> None:
    wave = np.full((1, 3 * 16_000), 0.5, np.float32)
    first, second, third = audio.clip_waves(wave, 16_000)
    assert np.allclose(first, 0)
    # 1.5 s of the second clip are 0 already, its last 0.5 s are not: its mean is 0.125.
    assert np.allclose(second[0, [0, -1]], [-0.125, 0.375])
    # The third begins in what both have shifted.
    assert third[0, 0] < second[0, 0]


def test_clips_of_a_long_sound_are_independent() -> None:
    wave = np.full((1, 8 * 16_000), 0.5, np.float32)
    assert all(np.allclose(clip, 0) for clip in audio.clip_waves(wave, 16_000))


@pytest.mark.parametrize(
    ("format", "codec"),
    [("mp3", "libmp3lame"), ("flac", "flac"), ("ogg", "libopus"), ("ipod", "aac"), ("adts", "aac"),
     ("webm", "libopus"), ("aiff", "pcm_s16be"), ("wav", "pcm_f32le"), ("wav", "pcm_s24le")],
)  # fmt: skip
def test_formats_sound_alike(format: str, codec: str) -> None:
    wave = tone(1, 48_000, 2)
    mel, wanted = load(sound(wave, 48_000, format, codec)), load(wav(wave, 48_000))
    loud = wanted[0, 0, :, 20:60].mean(axis=1).argmax()
    assert abs(mel[0, 0, loud, 20:60].mean() - wanted[0, 0, loud, 20:60].mean()) < 0.02


def test_the_same_bytes_give_the_same_array() -> None:
    data = sound(tone(1, 44_100), 44_100, "mp3", "libmp3lame")
    assert np.array_equal(load(data), load(data))


def test_padding_in_an_mp3_is_skipped() -> None:
    data = sound(tone(1, 44_100), 44_100, "mp3", "libmp3lame")
    assert load(data + b"\0" * 3000).shape == (3, 1, 128, 204)


def test_a_wav_written_to_a_pipe_has_no_length() -> None:
    data = wav(tone(1))
    piped = data[:4] + b"\xff" * 4 + data[8:40] + b"\xff" * 4 + data[44:]
    assert np.array_equal(load(piped), load(data))


@pytest.mark.parametrize(
    ("format", "codec"), [("flac", "flac"), ("ipod", "aac"), ("wav", "pcm_s16le")]
)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.8])
def test_cut_files_are_refused(format: str, codec: str, part: float) -> None:
    data = sound(tone(1, 44_100), 44_100, format, codec)
    with pytest.raises(InvalidMedia):
        load(data[: int(len(data) * part)])


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "empty"),
        (b"RIFF", "no known kind"),
        (b"ID3" + bytes(100), "MP3"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "PNG"),
        (b"fLaC" + bytes(60), "FLAC"),
        (wav(tone(0.02)), "25 ms"),
        (wav(np.zeros((1, 0), np.float32)), "no samples|WAV"),
    ],
)
def test_what_is_no_sound_is_refused(data: bytes, found: str) -> None:
    with pytest.raises(InvalidMedia, match=found):
        load(data)


def test_a_film_without_sound_is_refused() -> None:
    with pytest.raises(InvalidMedia, match="without a sound track"):
        load(film(num_frames=3))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_samples_must_be_finite(value: float) -> None:
    wave = tone(0.5, 16_000)
    wave[0, 100] = value
    with pytest.raises(InvalidMedia, match="finite"):
        load(sound(wave, 16_000, "wav", "pcm_f32le"))


def test_limits_hold() -> None:
    data = sound(tone(2, 44_100, 2), 44_100, "flac", "flac")
    with pytest.raises(MediaTooLarge, match="longest"):
        load(data, MediaLimits(max_audio_seconds=1))
    with pytest.raises(MediaTooLarge, match="MiB"):
        load(data, MediaLimits(max_audio_decoded_bytes=1 << 19))
    with pytest.raises(InvalidMedia, match="channels"):
        load(data, MediaLimits(max_audio_channels=1))


def test_seconds_are_counted_while_decoding_too() -> None:
    data = sound(tone(2, 44_100), 44_100, "adts", "aac")
    with pytest.raises(MediaTooLarge):
        load(data, MediaLimits(max_audio_seconds=1))


@pytest.mark.parametrize(("rate_hz", "num_channels"), [(10, 1), (4_000_000, 1), (16_000, 40)])
def test_forged_headers_are_refused_before_decoding(rate_hz: int, num_channels: int) -> None:
    with pytest.raises(InvalidMedia):
        load(wav(np.zeros((num_channels, 4000), np.float32), rate_hz))
