//! Boots the image in QEMU, without libvirt, and is its manager.
//!
//! The tests need QEMU and a built image and take a minute, so they run only when asked for: `image/test-boot`.
//! They use nothing of the network but the loopback.

mod faults;
mod life;
mod overlay;
mod program;
mod qmp;
mod tsc;
mod vm;
