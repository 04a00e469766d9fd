//! `#[derive(Layout)]`: where rkyv puts the fields of a struct or an enum.
//!
//! The archived struct is `#[repr(C)]` and asked for its offsets with `offset_of!`. The archived enum is
//! `#[repr(u8)]`, whose offsets `memlane` computes from the sizes of the fields, as the language defines them.

use crate::attributes::{ArchiveAttributes, FieldAttributes, MessageAttributes, plain};
use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{
    Data, DataEnum, DataStruct, DeriveInput, Error, Expr, Field, Generics, Index, Member, Path, Result, parse_quote,
};

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let attributes = MessageAttributes::parse(input)?;
    let misplaced = attributes.name.as_ref().map(|name| name.span());
    if let Some(span) = misplaced.or(attributes.version.as_ref().map(|version| version.span())) {
        return Err(Error::new(span, "only a message has a name and a version: derive `Message` for it"));
    }
    implement(input, &attributes.memlane())
}

/// The impl of `Layout`, with `memlane` found at that path.
pub(crate) fn implement(input: &DeriveInput, memlane: &Path) -> Result<TokenStream> {
    refuse_what_cannot_be_described(input)?;
    let name = plain(&input.ident);
    let archived = quote!(<Self as #memlane::__private::rkyv::Archive>::Archived);
    let (parts, describe) = match &input.data {
        Data::Struct(data) => describe_struct(data, &name, &archived, memlane)?,
        Data::Enum(data) => describe_enum(data, &name, memlane)?,
        Data::Union(data) => {
            let message = "a union cannot be a message, because nothing tells which field is valid: use an enum";
            return Err(Error::new(data.union_token.span, message));
        }
    };
    let fixed = parts.iter().map(|part| &part.fixed);
    let aligns = parts.iter().map(|part| &part.align);

    let ident = &input.ident;
    let generics = bounded(&input.generics, memlane);
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics #memlane::Layout for #ident #type_generics #where_clause {
            const FIXED: bool = true #(&& #fixed)*;
            const ALIGN: usize =
                #memlane::__private::align_max(&[::core::mem::align_of::<#archived>() #(, #aligns)*]);
            fn describe(description: &mut #memlane::__private::Description) {
                #describe
            }
        }
    })
}

/// `generics` with `Layout` asked of each type parameter.
pub(crate) fn bounded(generics: &Generics, memlane: &Path) -> Generics {
    let mut generics = generics.clone();
    for parameter in generics.type_params_mut() {
        parameter.bounds.push(parse_quote!(#memlane::Layout));
    }
    generics
}

fn refuse_what_cannot_be_described(input: &DeriveInput) -> Result<()> {
    if let Some(lifetime) = input.generics.lifetimes().next() {
        let message = "a message owns its data: use `String`, `Vec` or `Box` in place of a reference";
        return Err(Error::new(lifetime.span(), message));
    }
    let archive = ArchiveAttributes::parse(input)?;
    if let Some(span) = archive.remote {
        let message = "a stand-in for a remote type is not archived itself: \
                       derive this for the type whose field says `#[rkyv(with = ...)]`";
        return Err(Error::new(span, message));
    }
    let overridden = archive.archived_as.or(archive.representation);
    match (&input.data, overridden) {
        (Data::Enum(_), Some(span)) => {
            let message = "memlane describes an enum only as rkyv lays it out: leave this away";
            Err(Error::new(span, message))
        }
        _ => Ok(()),
    }
}

/// What one field adds to the constants of its type, and the expression that describes it.
struct Part {
    fixed: TokenStream,
    align: TokenStream,
    field: TokenStream,
}

fn describe_struct(
    data: &DataStruct,
    name: &str,
    archived: &TokenStream,
    memlane: &Path,
) -> Result<(Vec<Part>, TokenStream)> {
    let parts = data.fields.iter().enumerate().map(|(index, field)| {
        let member = member(index, field);
        let offset = quote_spanned!(member.span()=> ::core::mem::offset_of!(#archived, #member));
        describe_field(index, field, &offset, memlane)
    });
    let parts = parts.collect::<Result<Vec<_>>>()?;
    let fields = parts.iter().map(|part| &part.field);
    let describe = quote!(description.structure::<Self>(#name, &[#(#fields),*]););
    Ok((parts, describe))
}

fn describe_enum(data: &DataEnum, name: &str, memlane: &Path) -> Result<(Vec<Part>, TokenStream)> {
    let mut parts = Vec::new();
    let mut tags = Vec::new();
    let mut variants = Vec::new();
    let mut tag: Expr = parse_quote!(0);
    for (index, variant) in data.variants.iter().enumerate() {
        if let Some((_, expression)) = &variant.discriminant {
            tag = expression.clone();
        }
        let constant = format_ident!("__MEMLANE_TAG_{index}");
        tags.push(quote!(const #constant: u8 = #tag;));
        tag = parse_quote!(#constant + 1);

        let offset = quote!(0);
        let here = variant.fields.iter().enumerate();
        let here = here.map(|(index, field)| describe_field(index, field, &offset, memlane));
        let here = here.collect::<Result<Vec<_>>>()?;
        let fields = here.iter().map(|part| &part.field);
        let name = plain(&variant.ident);
        variants.push(quote!(#memlane::__private::Variant::new(#name, #constant, ::std::vec![#(#fields),*])));
        parts.extend(here);
    }
    let describe = quote! {
        #(#tags)*
        description.enumeration::<Self>(#name, &[#(#variants),*]);
    };
    Ok((parts, describe))
}

fn describe_field(index: usize, field: &Field, offset: &TokenStream, memlane: &Path) -> Result<Part> {
    let attributes = FieldAttributes::parse(field)?;
    let name = match &field.ident {
        Some(ident) => plain(ident),
        None => index.to_string(),
    };
    let ty = &field.ty;
    let private = quote!(#memlane::__private);
    // What can't be known is assumed to be aligned as far as anything may be.
    let align_max = quote!(#private::ALIGN_MAX);
    if let Some(wrapper) = &attributes.with {
        let mut text = wrapper.to_token_stream().to_string();
        text.retain(|character| !character.is_whitespace() && character != '"');
        let archived = quote_spanned! {wrapper.span()=>
            <#wrapper as #private::rkyv::with::ArchiveWith<#ty>>::Archived
        };
        return Ok(Part {
            fixed: quote!(false),
            align: align_max,
            field: quote!(#private::Field::opaque::<#archived>(#name, #offset, #text)),
        });
    }
    let layout = quote_spanned!(ty.span()=> <#ty as #memlane::Layout>);
    let archived = quote_spanned!(ty.span()=> <#ty as #private::rkyv::Archive>::Archived);
    // Asking a recursive type for its own alignment would go round in circles.
    let align = if attributes.recurs { align_max } else { quote!(#layout::ALIGN) };
    Ok(Part {
        fixed: quote!(#layout::FIXED),
        align,
        field: quote! {
            #private::Field::described::<#archived>(#name, #offset, #layout::describe)
        },
    })
}

fn member(index: usize, field: &Field) -> Member {
    match &field.ident {
        Some(ident) => Member::Named(ident.clone()),
        None => Member::Unnamed(Index { index: index as u32, span: field.span() }),
    }
}
