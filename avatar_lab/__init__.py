"""Train, distil, stream and evaluate Interactive Avatar Models: avatars that talk, listen and see."""
