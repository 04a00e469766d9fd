//! Models of the log in every order in which its steps can happen, as far as loom's bounds go. Run them with
//! `RUSTFLAGS="--cfg loom" cargo test -p memlane-ring --release --test loom`.

#![cfg(loom)]

mod bell;
mod death;
mod join;
mod kit;
mod many;
mod one;
mod sleep;
