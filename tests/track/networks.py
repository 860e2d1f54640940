"""Tiny networks of the real classes, with random weights."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from vidfill.track.sam_network import sam_classes


def tiny_sam(*, side_px: int = 64) -> Any:
    """A SAM for pictures of 64 pixels: two blocks, one of them global; nearly all of it is the decoder."""
    classes = sam_classes()
    torch.manual_seed(0)
    side = side_px // 16
    return classes.Sam(
        image_encoder=classes.ImageEncoderViT(
            img_size=side_px,
            embed_dim=32,
            depth=2,
            num_heads=2,
            mlp_ratio=2,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            qkv_bias=True,
            use_rel_pos=True,
            window_size=14,
            global_attn_indexes=(1,),
            out_chans=256,
        ),
        prompt_encoder=classes.PromptEncoder(
            embed_dim=256, image_embedding_size=(side, side), input_image_size=(side_px, side_px), mask_in_chans=16
        ),
        mask_decoder=classes.MaskDecoder(
            num_multimask_outputs=3,
            transformer=classes.TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8),
            transformer_dim=256,
        ),
    )


def save_sam(path: Path) -> Path:
    """A checkpoint as Meta's are: the bare state dict."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(tiny_sam().state_dict(), path)
    return path


def save_sam2(folder: Path) -> Path:
    """A SAM 2 for pictures of 128 pixels, as transformers saves one."""
    from transformers import Sam2VideoConfig, Sam2VideoModel

    torch.manual_seed(0)
    config = Sam2VideoConfig(
        image_size=128,
        vision_config={
            "model_type": "sam2_vision_model",
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": 8,
                "num_attention_heads": 1,
                "image_size": [128, 128],
                "blocks_per_stage": [1, 1, 2, 1],
                "embed_dim_per_stage": [8, 16, 32, 64],
                "num_attention_heads_per_stage": [1, 1, 2, 2],
                "window_size_per_stage": [8, 8, 8, 8],
                "global_attention_blocks": [3],
                "window_positional_embedding_background_size": [7, 7],
            },
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
            "fpn_hidden_size": 128,
        },
        prompt_encoder_config={"hidden_size": 128, "image_size": 128},
        mask_decoder_config={"hidden_size": 128, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 32},
        memory_attention_hidden_size=128,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=64,
        memory_attention_rope_feat_sizes=[8, 8],
        memory_encoder_hidden_size=128,
        memory_encoder_output_channels=64,
        mask_downsampler_embed_dim=128,
        memory_fuser_embed_dim=128,
        memory_fuser_intermediate_dim=64,
    )
    Sam2VideoModel(config).save_pretrained(folder)
    return folder
