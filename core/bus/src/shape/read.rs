//! Payloads into values.

use super::{DEPTH_MAX, Kind, Shape, Slot, VALUES_MAX, Value, ValueError};

impl Shape {
    /// Reads a payload of this shape.
    ///
    /// The value ends where the payload ends, as rkyv has it. Cost: allocates for everything that has parts, and for nothing else.
    /// Errors: [`ValueError`].
    pub fn read<'a>(&'a self, payload: &'a [u8]) -> Result<Value<'a>, ValueError> {
        let mut reader = Reader { shape: self, payload, values_left: VALUES_MAX, bytes_left: payload.len(), depth: 0 };
        let (size, _) = reader.extent(self.root)?;
        let at = payload.len().checked_sub(size).ok_or(ValueError::Outside { at: 0 })?;
        reader.value(self.root, at)
    }
}

pub(super) struct Reader<'a> {
    shape: &'a Shape,
    payload: &'a [u8],
    values_left: usize,
    /// No message has more text and bytes in it than bytes: no two of its values share any.
    bytes_left: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    /// So many bytes at a place.
    pub(super) fn bytes(&self, at: usize, count: usize) -> Result<&'a [u8], ValueError> {
        let end = at.checked_add(count).ok_or(ValueError::Outside { at })?;
        self.payload.get(at..end).ok_or(ValueError::Outside { at })
    }

    /// The same, for text and other bytes of any length, which are taken from those that the message has.
    pub(super) fn take(&mut self, at: usize, count: usize) -> Result<&'a [u8], ValueError> {
        let bytes = self.bytes(at, count)?;
        self.bytes_left = self.bytes_left.checked_sub(count).ok_or(ValueError::TooLarge)?;
        Ok(bytes)
    }

    fn number<const N: usize>(&self, at: usize) -> Result<[u8; N], ValueError> {
        self.bytes(at, N)?.try_into().map_err(|_| ValueError::Outside { at })
    }

    pub(super) fn byte(&self, at: usize) -> Result<u8, ValueError> {
        Ok(self.bytes(at, 1)?[0])
    }

    pub(super) fn count(&self, at: usize) -> Result<usize, ValueError> {
        Ok(u32::from_le_bytes(self.number(at)?) as usize)
    }

    /// How far a relative pointer leads, which is counted from its own address.
    pub(super) fn offset(&self, at: usize) -> Result<i32, ValueError> {
        Ok(i32::from_le_bytes(self.number(at)?))
    }

    /// Where a relative pointer leads.
    pub(super) fn target(&self, at: usize) -> Result<usize, ValueError> {
        at.checked_add_signed(self.offset(at)? as isize).ok_or(ValueError::Outside { at })
    }

    /// Size and alignment of a type, in bytes: a size that offsets can be added to without a thought.
    pub(super) fn extent(&self, kind: usize) -> Result<(usize, usize), ValueError> {
        let (size, align) = self.extent_as_described(kind)?;
        // No message is longer, and so no part of one.
        if size <= i32::MAX as usize { Ok((size, align)) } else { Err(ValueError::TooLarge) }
    }

    fn extent_as_described(&self, kind: usize) -> Result<(usize, usize), ValueError> {
        Ok(match self.kind(kind) {
            Kind::Unit => (0, 1),
            Kind::Bool => (1, 1),
            Kind::Char => (4, 4),
            Kind::Unsigned { bytes } | Kind::Signed { bytes } | Kind::Float { bytes } => (*bytes, *bytes),
            Kind::Array { of, count } => {
                let (size, align) = self.extent(*of)?;
                (size.checked_mul(*count).ok_or(ValueError::TooLarge)?, align)
            }
            Kind::Text | Kind::List { .. } | Kind::BoxedText | Kind::Tree { .. } => (8, 4),
            Kind::Boxed { .. } => (4, 4),
            Kind::HashTable { .. } => (12, 4),
            Kind::Tuple { extent, .. }
            | Kind::Option { extent, .. }
            | Kind::Result { extent, .. }
            | Kind::Struct { extent, .. }
            | Kind::Enum { extent, .. }
            | Kind::Opaque { extent, .. } => (extent.size, extent.align),
            // A reference leads to a struct or an enum, and these say their extents.
            Kind::Again { .. } => (0, 1),
        })
    }

    fn kind(&self, kind: usize) -> &'a Kind {
        match &self.shape.kinds[kind] {
            Kind::Again { number } => &self.shape.kinds[self.shape.named[*number]],
            kind => kind,
        }
    }

    /// Takes one of the values that a message may have.
    pub(super) fn spend(&mut self) -> Result<(), ValueError> {
        self.values_left = self.values_left.checked_sub(1).ok_or(ValueError::TooLarge)?;
        Ok(())
    }

    /// Does something a level deeper.
    pub(super) fn deeper<T>(&mut self, walk: impl FnOnce(&mut Self) -> Result<T, ValueError>) -> Result<T, ValueError> {
        if self.depth >= DEPTH_MAX {
            return Err(ValueError::TooLarge);
        }
        self.depth += 1;
        let walked = walk(self);
        self.depth -= 1;
        walked
    }

    /// The value of a type at a place.
    pub(super) fn value(&mut self, kind: usize, at: usize) -> Result<Value<'a>, ValueError> {
        self.spend()?;
        self.deeper(|reader| reader.value_here(kind, at))
    }

    fn value_here(&mut self, kind: usize, at: usize) -> Result<Value<'a>, ValueError> {
        let kind = self.kind(kind);
        Ok(match kind {
            Kind::Unit | Kind::Bool | Kind::Char | Kind::Unsigned { .. } | Kind::Signed { .. } | Kind::Float { .. } => {
                self.scalar(kind, at)?
            }
            Kind::Array { of, count } => self.list(*of, at, *count)?,
            Kind::List { of } => match self.count(at + 4)? {
                0 => self.list(*of, at, 0)?,
                count => self.list(*of, self.target(at)?, count)?,
            },
            Kind::Tuple { slots, .. } => {
                Value::List(slots.iter().map(|slot| self.slot(slot, at)).collect::<Result<_, _>>()?)
            }
            Kind::Option { some, .. } => match self.byte(at)? {
                0 => Value::Option(None),
                1 => Value::Option(Some(Box::new(self.slot(some, at)?))),
                _ => return Err(ValueError::NoSuchValue { at, expected: "option" }),
            },
            Kind::Result { ok, error, .. } => match self.byte(at)? {
                0 => Value::Result(Ok(Box::new(self.slot(ok, at)?))),
                1 => Value::Result(Err(Box::new(self.slot(error, at)?))),
                _ => return Err(ValueError::NoSuchValue { at, expected: "result" }),
            },
            Kind::Text => self.text(at)?,
            Kind::BoxedText => match self.count(at + 4)? {
                0 => Value::Text(""),
                count => self.text_at(self.target(at)?, count)?,
            },
            Kind::Boxed { of } => self.value(*of, self.target(at)?)?,
            Kind::HashTable { key, value } => self.hash_table(*key, *value, at)?,
            Kind::Tree { key, value } => self.tree(*key, *value, at)?,
            Kind::Struct { name, fields, .. } => Value::Struct { name, fields: self.fields(fields, at)? },
            Kind::Enum { variants, .. } => {
                let tag = self.byte(at)?;
                let variant = variants.iter().find(|variant| variant.tag == tag);
                let variant = variant.ok_or(ValueError::NoSuchValue { at, expected: "variant of its enum" })?;
                Value::Variant { name: &variant.name, fields: self.fields(&variant.fields, at)? }
            }
            Kind::Opaque { wrapper, extent } => Value::Opaque { wrapper, bytes: self.take(at, extent.size)? },
            // A reference leads to a struct or an enum.
            Kind::Again { .. } => Value::Unit,
        })
    }

    fn scalar(&self, kind: &Kind, at: usize) -> Result<Value<'a>, ValueError> {
        Ok(match kind {
            Kind::Bool => match self.byte(at)? {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                _ => return Err(ValueError::NoSuchValue { at, expected: "bool" }),
            },
            Kind::Char => {
                let found = char::from_u32(u32::from_le_bytes(self.number(at)?));
                Value::Char(found.ok_or(ValueError::NoSuchValue { at, expected: "character" })?)
            }
            Kind::Float { bytes: 4 } => Value::Single(f32::from_le_bytes(self.number(at)?)),
            Kind::Float { .. } => Value::Double(f64::from_le_bytes(self.number(at)?)),
            Kind::Unsigned { bytes } => Value::Unsigned(self.widened(at, *bytes, false)?),
            Kind::Signed { bytes } => Value::Signed(self.widened(at, *bytes, true)?.cast_signed()),
            _ => Value::Unit,
        })
    }

    /// A little-endian integer; a negative one keeps its sign.
    fn widened(&self, at: usize, bytes: usize, is_signed: bool) -> Result<u128, ValueError> {
        let narrow = self.bytes(at, bytes)?;
        let is_negative = is_signed && narrow.last().is_some_and(|byte| byte >> 7 == 1);
        let mut wide = [if is_negative { 0xff } else { 0 }; 16];
        wide[..bytes].copy_from_slice(narrow);
        Ok(u128::from_le_bytes(wide))
    }

    fn slot(&mut self, slot: &Slot, at: usize) -> Result<Value<'a>, ValueError> {
        let place = at.checked_add(slot.offset).ok_or(ValueError::Outside { at })?;
        self.value(slot.kind, place)
    }

    fn fields(&mut self, fields: &'a [(String, Slot)], at: usize) -> Result<Vec<(&'a str, Value<'a>)>, ValueError> {
        fields.iter().map(|(name, slot)| Ok((name.as_str(), self.slot(slot, at)?))).collect()
    }

    /// So many values of a type, side by side.
    fn list(&mut self, of: usize, at: usize, count: usize) -> Result<Value<'a>, ValueError> {
        if matches!(self.kind(of), Kind::Unsigned { bytes: 1 }) {
            return Ok(Value::Bytes(if count == 0 { &[] } else { self.take(at, count)? }));
        }
        let (size, _) = self.extent(of)?;
        // No more is allocated than the message, and the bound on values, have room for.
        if count > self.values_left {
            return Err(ValueError::TooLarge);
        }
        self.bytes(at, size.checked_mul(count).ok_or(ValueError::TooLarge)?)?;
        let mut values = Vec::new();
        for index in 0..count {
            values.push(self.value(of, at + size * index)?);
        }
        Ok(Value::List(values))
    }

    /// `string`: in place if it is short.
    fn text(&mut self, at: usize) -> Result<Value<'a>, ValueError> {
        const IN_PLACE_BYTES: usize = 8;
        let bytes = self.bytes(at, IN_PLACE_BYTES)?;
        if bytes[0] & 0xc0 != 0x80 {
            let length = bytes.iter().position(|byte| *byte == 0xff).unwrap_or(IN_PLACE_BYTES);
            return self.text_at(at, length);
        }
        let word = u32::from_le_bytes(self.number(at)?);
        let length = (word & 0x3f) | ((word & !0xff) >> 2);
        let start = at.checked_add_signed(self.offset(at + 4)? as isize).ok_or(ValueError::Outside { at })?;
        self.text_at(start, length as usize)
    }

    fn text_at(&mut self, at: usize, length: usize) -> Result<Value<'a>, ValueError> {
        let text = core::str::from_utf8(self.take(at, length)?);
        text.map(Value::Text).map_err(|_| ValueError::NoSuchValue { at, expected: "text" })
    }
}
