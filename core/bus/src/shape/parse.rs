//! Descriptions into shapes, by recursive descent.

use super::{Extent, Kind, NESTING_MAX, Shape, ShapeError, Slot, Variant};
use crate::description::DESCRIPTION_BYTES_MAX;

impl Shape {
    /// Reads a description, such as [`TypeInfo::description`](crate::TypeInfo).
    ///
    /// Cost: allocates; meant for the opening of a topic. Errors: [`ShapeError`].
    pub fn parse(description: &str) -> Result<Self, ShapeError> {
        if description.len() > DESCRIPTION_BYTES_MAX {
            return Err(ShapeError::TooLong);
        }
        let mut parser = Parser { text: description, at: 0, nesting: 0, kinds: Vec::new(), named: Vec::new() };
        let root = parser.kind()?;
        if parser.at < description.len() {
            return Err(parser.wrong("the end"));
        }
        Ok(Self { kinds: parser.kinds, named: parser.named, root })
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    nesting: usize,
    kinds: Vec<Kind>,
    named: Vec<usize>,
}

impl<'a> Parser<'a> {
    fn wrong(&self, expected: &'static str) -> ShapeError {
        ShapeError::Grammar { at: self.at, expected }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Goes past `token`, if it is next.
    fn has(&mut self, token: &str) -> bool {
        let is_next = self.rest().starts_with(token);
        self.at += if is_next { token.len() } else { 0 };
        is_next
    }

    fn expect(&mut self, token: &'static str) -> Result<(), ShapeError> {
        if self.has(token) { Ok(()) } else { Err(self.wrong(token)) }
    }

    /// Up to the next letter that is no part of a name.
    fn name(&mut self) -> Result<&'a str, ShapeError> {
        let rest = self.rest();
        let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(rest.len());
        if end == 0 {
            return Err(self.wrong("a name"));
        }
        self.at += end;
        Ok(&rest[..end])
    }

    fn number(&mut self) -> Result<usize, ShapeError> {
        let rest = self.rest();
        let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        let number = rest[..end].parse::<u32>().map_err(|_| self.wrong("a number of 32 bits"))?;
        self.at += end;
        Ok(number as usize)
    }

    fn extent(&mut self) -> Result<Extent, ShapeError> {
        let size = self.number()?;
        self.expect("/")?;
        let align = self.number()?;
        if align.is_power_of_two() { Ok(Extent { size, align }) } else { Err(self.wrong("an alignment")) }
    }

    fn slot(&mut self) -> Result<Slot, ShapeError> {
        let kind = self.kind()?;
        self.expect("@")?;
        Ok(Slot { kind, offset: self.number()? })
    }

    /// Fields up to the closing bracket, whose opening one is passed.
    fn fields(&mut self) -> Result<Vec<(String, Slot)>, ShapeError> {
        let mut fields = Vec::new();
        while !self.has("}") {
            if !fields.is_empty() {
                self.expect(",")?;
            }
            let name = self.name()?.to_owned();
            self.expect(":")?;
            fields.push((name, self.slot()?));
        }
        Ok(fields)
    }

    fn add(&mut self, kind: Kind) -> usize {
        self.kinds.push(kind);
        self.kinds.len() - 1
    }

    fn kind(&mut self) -> Result<usize, ShapeError> {
        self.nesting += 1;
        if self.nesting > NESTING_MAX {
            return Err(self.wrong("no deeper nesting"));
        }
        let kind = if self.has("()") {
            Kind::Unit
        } else if self.has("(") {
            let mut slots = vec![self.slot()?];
            while self.has(",") {
                slots.push(self.slot()?);
            }
            self.expect(")")?;
            Kind::Tuple { slots, extent: self.extent()? }
        } else if self.has("[") {
            let of = self.kind()?;
            self.array_of(of)?
        } else if self.has("^") {
            let number = self.number()?;
            if number >= self.named.len() {
                return Err(self.wrong("the number of an earlier type"));
            }
            Kind::Again { number }
        } else {
            let name = self.name()?;
            return self.begun_by(name).inspect(|_| self.nesting -= 1);
        };
        self.nesting -= 1;
        Ok(self.add(kind))
    }

    /// A type whose text begins with `name`: what follows tells which.
    fn begun_by(&mut self, name: &str) -> Result<usize, ShapeError> {
        let kind = if self.has("{") {
            let kind = self.open();
            let fields = self.fields()?;
            self.kinds[kind] = Kind::Struct { name: name.to_owned(), fields, extent: self.extent()? };
            return Ok(kind);
        } else if self.has("[") {
            let kind = self.open();
            let variants = self.variants()?;
            self.kinds[kind] = Kind::Enum { variants, extent: self.extent()? };
            return Ok(kind);
        } else if self.has("<") {
            self.generic(name)?
        } else if name == "opaque" {
            self.expect("\"")?;
            let end = self.rest().find('"').ok_or_else(|| self.wrong("a quotation mark"))?;
            let wrapper = self.rest()[..end].to_owned();
            self.at += end + 1;
            Kind::Opaque { wrapper, extent: self.extent()? }
        } else if name == "nonzero" {
            self.expect(" ")?;
            let number = self.name()?;
            integer(number).ok_or_else(|| self.wrong("an integer"))?
        } else {
            match name {
                "bool" => Kind::Bool,
                "char" => Kind::Char,
                "f32" => Kind::Float { bytes: 4 },
                "f64" => Kind::Float { bytes: 8 },
                "string" => Kind::Text,
                _ => integer(name).ok_or_else(|| self.wrong("a type"))?,
            }
        };
        Ok(self.add(kind))
    }

    /// A struct or an enum, whose inside comes now.
    fn open(&mut self) -> usize {
        let kind = self.add(Kind::Unit);
        self.named.push(kind);
        kind
    }

    fn variants(&mut self) -> Result<Vec<Variant>, ShapeError> {
        let mut variants = Vec::new();
        while !self.has("]") {
            if !variants.is_empty() {
                self.expect("|")?;
            }
            let name = self.name()?.to_owned();
            self.expect("=")?;
            let tag = u8::try_from(self.number()?).map_err(|_| self.wrong("a tag of one byte"))?;
            let fields = if self.has("{") { self.fields()? } else { Vec::new() };
            variants.push(Variant { name, tag, fields });
        }
        Ok(variants)
    }

    /// What stands between `<`, which is passed, and `>`, and behind it.
    fn generic(&mut self, name: &str) -> Result<Kind, ShapeError> {
        let kind = match name {
            "option" => {
                let some = self.slot()?;
                self.expect(">")?;
                return Ok(Kind::Option { some, extent: self.extent()? });
            }
            "result" => {
                let ok = self.slot()?;
                self.expect(",")?;
                let error = self.slot()?;
                self.expect(">")?;
                return Ok(Kind::Result { ok, error, extent: self.extent()? });
            }
            "box" if self.has("str>") => return Ok(Kind::BoxedText),
            "box" => self.boxed()?,
            "vec" => Kind::List { of: self.kind()? },
            "hashset" => Kind::HashTable { key: self.kind()?, value: None },
            "btreeset" => Kind::Tree { key: self.kind()?, value: None },
            "hashmap" | "btreemap" => {
                let key = self.kind()?;
                self.expect(",")?;
                let value = Some(self.kind()?);
                if name == "hashmap" { Kind::HashTable { key, value } } else { Kind::Tree { key, value } }
            }
            _ => return Err(self.wrong("a type with parameters")),
        };
        self.expect(">")?;
        Ok(kind)
    }

    /// `[T]` is a slice and `[T;n]` an array: which one, stands behind the type.
    fn boxed(&mut self) -> Result<Kind, ShapeError> {
        if !self.has("[") {
            return Ok(Kind::Boxed { of: self.kind()? });
        }
        let of = self.kind()?;
        if self.has("]") {
            return Ok(Kind::List { of });
        }
        let array = self.array_of(of)?;
        Ok(Kind::Boxed { of: self.add(array) })
    }

    /// Behind the type of its elements.
    fn array_of(&mut self, of: usize) -> Result<Kind, ShapeError> {
        self.expect(";")?;
        let count = self.number()?;
        self.expect("]")?;
        Ok(Kind::Array { of, count })
    }
}

fn integer(name: &str) -> Option<Kind> {
    let bytes = match name.get(1..)? {
        "8" => 1,
        "16" => 2,
        "32" => 4,
        "64" => 8,
        "128" => 16,
        _ => return None,
    };
    match &name[..1] {
        "u" => Some(Kind::Unsigned { bytes }),
        "i" => Some(Kind::Signed { bytes }),
        _ => None,
    }
}
