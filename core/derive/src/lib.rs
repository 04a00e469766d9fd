//! The derive macros of `memlane`. Use them through that crate: `memlane::{Layout, Message}`.
//!
//! Both read a type that also derives `rkyv::Archive` and write down where rkyv puts its fields:
//!
//! - `attributes.rs`: what `#[message(...)]` and `#[rkyv(...)]` say.
//! - `layout.rs`: the impl of `Layout`, for structs and enums.
//! - `message.rs`: the impl of `Message`.
//!
//! A mistake is reported at the token that made it, with what to write instead.

#![forbid(unsafe_code)]

mod attributes;
mod layout;
mod message;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Describes the archived layout of a type that is a part of messages.
///
/// The type also derives `rkyv::Archive` and `rkyv::Serialize`. Takes `#[message(crate = path)]` for a renamed
/// `memlane`.
#[proc_macro_derive(Layout, attributes(message))]
pub fn derive_layout(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    layout::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a type a message: gives it a name, a version and a layout.
///
/// The type also derives `rkyv::Archive` and `rkyv::Serialize`; `Layout` is included.
/// Takes `#[message(name = "md.trade", version = 3, crate = path)]`, each optional.
#[proc_macro_derive(Message, attributes(message))]
pub fn derive_message(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    message::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
