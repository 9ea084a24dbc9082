"""The joint flow of audio embeddings and video latents: noise, levels, warps, samplers, guidance."""
