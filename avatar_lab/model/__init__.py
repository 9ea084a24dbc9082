"""One diffusion transformer over the avatar's audio and video tokens, with nested branches that listen and see."""
