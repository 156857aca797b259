"""Writes tests/golden/pe_video with transformers 5.12, timm 1.0 and torchvision 0.28: small checkpoints of PE's towers for
videos and texts (`pe_video`) and of PE-AV (`pe_audio_video`) with random weights in the official layout, and what the
reference makes of videos, pictures, clips and texts.

    python tests/golden/make_pe_video.py

A video's frames are windows of the picture "photo" of tests/golden/vision, as `frames` cuts them; clips are those of
make_pe_audio.py. `expected.safetensors`: `pixels` of the first frame as the reference makes them, which resizes by torch, so
that a byte may be 1 off Pillow's; `video.T` of T frames and `image`, of one; and in `both` every vector of the model with
all three by its name, and the scores as `logits_...`. Vectors are of our own pixels, kept as `frames`.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
import transformers as tf
from make_pe_audio import AUDIO, DAC, HOP, TEXT, sound
from make_vision import FOLDER as VISION
from make_vision import TEXTS, WORDS, randomise, save, write_tokenizer
from safetensors.torch import load_file

FOLDER = Path(__file__).parent / "pe_video"

SIZE = 16  # of the network's pictures
VISION_CONFIG = {
    "architecture": "vit_pe_core_tiny_patch16_384",
    "num_classes": 10,
    "model_args": dict(embed_dim=16, depth=2, num_heads=2, patch_size=4, img_size=SIZE, mlp_ratio=1.5,
                       attn_pool_num_heads=2),
}  # fmt: skip
VIDEO = AUDIO | {"vision_config": VISION_CONFIG}
BOTH = dict(hidden_size=14, intermediate_size=18, num_hidden_layers=2, num_attention_heads=3, head_dim=4)
LENGTHS = [1, 2, 5]  # frames
SAMPLES = 500  # of the clip beside the video


def processor(size=SIZE, num_frames=None):
    sampling = {"do_sample_frames": True, "num_frames": num_frames} if num_frames else {}
    return tf.PeVideoVideoProcessor(
        size={"height": size, "width": size}, do_resize=True, do_rescale=True, do_normalize=True,
        image_mean=[0.5] * 3, image_std=[0.5] * 3, **sampling)  # fmt: skip


def make(folder, seed, *, text=TEXT, video=VIDEO, audio=None, both=None, dac=DAC, hop=HOP, size=SIZE, num_frames=None,
         nested=False, dtype=torch.float32):  # fmt: skip
    """The checkpoint with its tokenizer and processors, and the model as a reader of it gets it; of PE-AV with `audio`."""
    shutil.rmtree(folder, ignore_errors=True)
    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *WORDS.split()]
    text = text | {"vocab_size": len(words)}
    video = json.loads(json.dumps(video))  # the reference writes into it
    if audio is None:
        model = tf.PeVideoModel(tf.PeVideoConfig(text_config=text, video_config=video))
    else:
        joint = both | {"audio_config": audio | {"dac_config": dac}, "video_config": video}
        model = tf.PeAudioVideoModel(tf.PeAudioVideoConfig(text_config=text, audio_video_config=joint))
    randomise(model, seed).to(dtype).save_pretrained(folder)
    parts = {"video_processor": processor(size, num_frames).to_dict()}
    if audio is not None:
        parts["feature_extractor"] = tf.PeAudioFeatureExtractor(hop_length=hop).to_dict()
    if nested:
        (folder / "processor_config.json").write_text(json.dumps(parts, indent=2))
    else:
        (folder / "video_preprocessor_config.json").write_text(json.dumps(parts["video_processor"], indent=2))
        if audio is not None:
            (folder / "preprocessor_config.json").write_text(json.dumps(parts["feature_extractor"], indent=2))
    tokenizer = write_tokenizer(folder, words, "[CLS] $A [SEP]", "[PAD]")
    if audio is None:
        return tf.PeVideoModel.from_pretrained(folder, dtype=torch.float32).eval(), tokenizer
    return read_back(model.float(), folder), tokenizer


def read_back(model, folder):
    """The weights of the file in the model; from_pretrained of 5.12.1 ties buffers of timm 1.0.31 as well, and stops."""
    stored = load_file(folder / "model.safetensors")
    report = model.load_state_dict(stored, strict=False)
    assert not report.unexpected_keys
    model.tie_weights()
    names = {id(p): n for n, p in model.named_parameters(remove_duplicate=False) if n in stored}
    assert all(id(p) in names for p in model.parameters())  # each is in the file, under one of its names
    return model.eval()


def frames(count, seed=0):
    """uint8 (count, 20, 24, 3): windows that wander over a picture."""
    picture = load_file(VISION / "pictures.safetensors")["photo"]
    random = np.random.default_rng(seed)
    places = [(int(random.integers(0, picture.shape[0] - 20)), int(random.integers(0, picture.shape[1] - 24)))
              for _ in range(count)]  # fmt: skip
    return torch.stack([picture[y : y + 20, x : x + 24] for y, x in places]).contiguous()


def pixels_of(video, size=SIZE, num_frames=None):
    """What the reference's processor makes of frames -> (1, T, 3, size, size)"""
    metadata = [{"fps": 1, "total_num_frames": len(video), "duration": len(video)}]
    return processor(size, num_frames)(video.numpy(), video_metadata=metadata, return_tensors="pt")["pixel_values_videos"]


def pillow_pixels(video, size=SIZE):
    """The same by Pillow, which is what we use -> (1, T, 3, size, size)"""
    from PIL import Image

    small = [Image.fromarray(frame.numpy()).resize((size, size), Image.Resampling.BILINEAR) for frame in video]
    bytes = torch.from_numpy(np.stack([np.asarray(frame) for frame in small])).permute(0, 3, 1, 2)
    return ((bytes * (1 / 255) - 0.5) / 0.5)[None].float()


def sampled(pixels, num_frames):
    """By the reference's rule for the indices."""
    if not num_frames:
        return pixels
    metadata = type("Metadata", (), {"total_num_frames": pixels.shape[1]})
    return pixels[:, processor(num_frames=num_frames).sample_frames(metadata, num_frames=num_frames).long()]


def tokens(tokenizer, texts, length=32):
    return tokenizer(texts, padding=True, truncation=True, max_length=length, return_tensors="pt")


def video_vector(model, pixels):
    video_model = getattr(model, "video_model", model)
    return video_model.video_head(video_model.video_encoder(pixels).pooler_output)[0]


def all_vectors(model, pixels, samples, batch, hop=HOP):
    """Every vector and score of PE-AV, by the reference's names, of one clip, one video and texts."""
    found = {}
    for row in range(len(batch.input_ids)):  # the reference pairs rows
        clip = tf.PeAudioFeatureExtractor(hop_length=hop)(samples, sampling_rate=48_000, return_tensors="pt")
        one = model(
            input_ids=batch.input_ids[[row]], attention_mask=batch.attention_mask[[row]], pixel_values_videos=pixels,
            input_values=clip["input_values"], padding_mask=clip["padding_mask"])  # fmt: skip
        for name, value in one.items():
            if name.endswith("_embeds") or name.startswith("logits"):
                found.setdefault(name, []).append(value[0])
    return {name: torch.stack(values) for name, values in found.items()}


def text_vectors(model, batch):
    """Of a model of videos alone."""
    hidden = model.text_model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
    return model.text_video_head(hidden[:, 0])


def write():
    model, tokenizer = make(FOLDER / "small", 1, dtype=torch.float16)
    video = frames(max(LENGTHS))
    tensors = {"frames": video, "pixels": pixels_of(video)[0, 0].contiguous()}
    for length in LENGTHS:
        tensors[f"video.{length}"] = video_vector(model, pillow_pixels(video[:length])).contiguous()
    batch = tokens(tokenizer, TEXTS)
    tensors["text_features"] = text_vectors(model, batch).contiguous()
    one = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, pixel_values_videos=pillow_pixels(video))
    tensors["logits_video_text"] = one.logits_video_text.contiguous()
    save(FOLDER / "small", tensors)

    num_frames = 3
    model, tokenizer = make(FOLDER / "both", 2, audio=AUDIO, both=BOTH, num_frames=num_frames, nested=True)
    tensors = {"frames": video}
    batch = tokens(tokenizer, TEXTS)
    pixels = sampled(pillow_pixels(video), num_frames)
    found = all_vectors(model, pixels, sound(SAMPLES), batch)
    tensors |= {name: value.contiguous() for name, value in found.items()}
    tensors["image"] = video_vector(model, sampled(pillow_pixels(video[:1]), num_frames)).contiguous()
    save(FOLDER / "both", tensors)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    write()
