//! `#[derive(Message)]`: a name and a version beside the layout.

use crate::attributes::MessageAttributes;
use crate::layout;
use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, Result, parse_quote};

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let attributes = MessageAttributes::parse(input)?;
    let name = attributes.checked_name(&input.ident)?;
    let version = attributes.checked_version()?;
    let memlane = attributes.memlane();
    let layout = layout::implement(input, &memlane)?;

    let ident = &input.ident;
    let mut generics = layout::bounded(&input.generics, &memlane);
    let (_, type_generics, _) = input.generics.split_for_impl();
    if input.generics.type_params().next().is_some() {
        // rkyv bounds what it derives by the types of the fields, which only it knows.
        let bounds = &mut generics.make_where_clause().predicates;
        bounds.push(parse_quote!(Self: #memlane::__private::Encode));
        bounds.push(parse_quote! {
            <#ident #type_generics as #memlane::__private::rkyv::Archive>::Archived: #memlane::__private::Verify
        });
    }
    let (impl_generics, _, where_clause) = generics.split_for_impl();

    Ok(quote! {
        #layout

        #[automatically_derived]
        impl #impl_generics #memlane::Message for #ident #type_generics #where_clause {
            const NAME: &'static str = #name;
            const VERSION: u32 = #version;
        }
    })
}
