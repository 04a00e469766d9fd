//! What `#[message(...)]` says, and the few words of `#[rkyv(...)]` that change a layout.

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Error, Field, Ident, LitInt, LitStr, Path, Result, Token, Type};

/// The longest name of a message, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// `#[message(name = "...", version = N, crate = path)]`
#[derive(Default)]
pub(crate) struct MessageAttributes {
    pub(crate) name: Option<LitStr>,
    pub(crate) version: Option<LitInt>,
    pub(crate) memlane: Option<Path>,
}

impl MessageAttributes {
    pub(crate) fn parse(input: &DeriveInput) -> Result<Self> {
        refuse_inside(input)?;
        let mut attributes = Self::default();
        for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("message")) {
            attribute.parse_nested_meta(|meta| attributes.parse_one(&meta))?;
        }
        Ok(attributes)
    }

    fn parse_one(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        if meta.path.is_ident("name") {
            set(&mut self.name, meta)
        } else if meta.path.is_ident("version") {
            set(&mut self.version, meta)
        } else if meta.path.is_ident("crate") {
            set(&mut self.memlane, meta)
        } else {
            Err(meta.error("unknown attribute: `message` takes `name`, `version` and `crate`"))
        }
    }

    /// The path of the `memlane` crate.
    pub(crate) fn memlane(&self) -> Path {
        self.memlane.clone().unwrap_or_else(|| syn::parse_quote!(::memlane))
    }

    /// The name of the message: as given, or the identifier of the type.
    pub(crate) fn checked_name(&self, ident: &Ident) -> Result<String> {
        let (name, span) = match &self.name {
            Some(literal) => (literal.value(), literal.span()),
            None => (plain(ident), ident.span()),
        };
        let allowed = |character: char| character.is_ascii_alphanumeric() || "_.:-".contains(character);
        let bytes = name.len();
        if let Some(other) = name.chars().find(|character| !allowed(*character)) {
            let message = format!(
                "{other:?} cannot stand in the name of a message: \
                 use `A-Z a-z 0-9 _ . : -` in `#[message(name = \"...\")]`"
            );
            Err(Error::new(span, message))
        } else if bytes == 0 || bytes > NAME_BYTES_MAX {
            let message = format!(
                "the name of a message has 1 to {NAME_BYTES_MAX} bytes, this one has {bytes}: \
                 choose another with `#[message(name = \"...\")]`"
            );
            Err(Error::new(span, message))
        } else {
            Ok(name)
        }
    }

    /// The version of the message: as given, or 1.
    pub(crate) fn checked_version(&self) -> Result<u32> {
        self.version.as_ref().map_or(Ok(1), LitInt::base10_parse)
    }
}

/// Parses `= value` unless the word was there before.
fn set<T: syn::parse::Parse>(place: &mut Option<T>, meta: &ParseNestedMeta<'_>) -> Result<()> {
    if place.is_some() {
        return Err(meta.error("given twice"));
    }
    *place = Some(meta.value()?.parse()?);
    Ok(())
}

/// `#[message(...)]` belongs to the type; on a field or a variant it would be ignored in silence.
fn refuse_inside(input: &DeriveInput) -> Result<()> {
    let refuse = |attributes: &[Attribute]| match attributes.iter().find(|one| one.path().is_ident("message")) {
        Some(attribute) => Err(Error::new(attribute.span(), "`message` goes on the type, not inside it")),
        None => Ok(()),
    };
    match &input.data {
        Data::Struct(data) => data.fields.iter().try_for_each(|field| refuse(&field.attrs)),
        Data::Enum(data) => data.variants.iter().try_for_each(|variant| {
            refuse(&variant.attrs)?;
            variant.fields.iter().try_for_each(|field| refuse(&field.attrs))
        }),
        Data::Union(_) => Ok(()),
    }
}

/// What `#[rkyv(...)]` on the type says about its layout.
#[derive(Default)]
pub(crate) struct ArchiveAttributes {
    /// `remote = path`: the type stands in for another one, and isn't archived itself.
    pub(crate) remote: Option<Span>,
    /// `as = type`: archived as a type that somebody else laid out.
    pub(crate) archived_as: Option<Span>,
    /// `attr(repr(...))`: rkyv's own representation is overridden.
    pub(crate) representation: Option<Span>,
}

impl ArchiveAttributes {
    pub(crate) fn parse(input: &DeriveInput) -> Result<Self> {
        let mut attributes = Self::default();
        each_rkyv_word(&input.attrs, |word| {
            let span = word.path.span();
            if word.path.is_ident("remote") {
                attributes.remote = Some(span);
            } else if word.path.is_ident("as") {
                attributes.archived_as = Some(span);
            } else if word.path.is_ident("attr") && mentions(&word.arguments, "repr") {
                attributes.representation = Some(span);
            }
        })?;
        Ok(attributes)
    }
}

/// What `#[rkyv(...)]` on a field says about its layout.
#[derive(Default)]
pub(crate) struct FieldAttributes {
    /// `with = wrapper`: archived by the wrapper instead of the field's type.
    pub(crate) with: Option<Type>,
    /// `omit_bounds`: the type recurs here.
    pub(crate) recurs: bool,
}

impl FieldAttributes {
    pub(crate) fn parse(field: &Field) -> Result<Self> {
        let mut attributes = Self::default();
        each_rkyv_word(&field.attrs, |word| {
            if word.path.is_ident("with") {
                attributes.with = word.value;
            } else if word.path.is_ident("omit_bounds") {
                attributes.recurs = true;
            }
        })?;
        Ok(attributes)
    }
}

/// One of the words in `#[rkyv(word, word = value, word(arguments))]`.
struct RkyvWord {
    path: Path,
    value: Option<Type>,
    arguments: TokenStream,
}

/// Reads past words that it doesn't know: whether they make sense is rkyv's to say.
fn each_rkyv_word(attributes: &[Attribute], mut visit: impl FnMut(RkyvWord)) -> Result<()> {
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("rkyv")) {
        attribute.parse_nested_meta(|meta| {
            let mut word = RkyvWord { path: meta.path, value: None, arguments: TokenStream::new() };
            if meta.input.peek(Token![=]) {
                meta.input.parse::<Token![=]>()?;
                word.value = Some(meta.input.parse()?);
            } else if meta.input.peek(syn::token::Paren) {
                let content;
                syn::parenthesized!(content in meta.input);
                word.arguments = content.parse()?;
            }
            visit(word);
            Ok(())
        })?;
    }
    Ok(())
}

fn mentions(tokens: &TokenStream, word: &str) -> bool {
    tokens.clone().into_iter().any(|token| matches!(token, TokenTree::Ident(ident) if ident == word))
}

/// The identifier without `r#`.
pub(crate) fn plain(ident: &Ident) -> String {
    let text = ident.to_string();
    text.strip_prefix("r#").map(str::to_owned).unwrap_or(text)
}
