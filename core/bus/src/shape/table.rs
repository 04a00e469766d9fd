//! rkyv's hash tables and B-trees.
//!
//! ```text
//! hash table   …, entry 1, entry 0, controls: one byte for each entry, 0xFF if there is none      the pointer leads to the controls
//! B-tree node  kind (u8: 0 leaf, 1 inner), 5 keys, 5 values;  a leaf: length (u32);  an inner one: 5 pointers to what is less, 1 to what is more
//! ```
//!
//! Sources: `collections/swiss_table/table.rs` and `collections/btree/map/mod.rs` of rkyv 0.8.

use super::Value;
use super::ValueError;
use super::read::Reader;

/// Entries of a B-tree's node.
const NODE_ENTRIES: usize = 5;
/// What a relative pointer that leads nowhere says.
const NOWHERE: i32 = 1;
/// Set in the control byte of an entry that is none.
const EMPTY: u8 = 0x80;

/// The next multiple of an alignment; nothing here comes near the end of the numbers.
fn aligned(offset: usize, align: usize) -> usize {
    offset.next_multiple_of(align.max(1))
}

type Entries<'a> = Vec<(Value<'a>, Option<Value<'a>>)>;

/// A map, or a set.
fn collected<'a>(entries: Entries<'a>, is_map: bool) -> Value<'a> {
    if is_map {
        Value::Map(entries.into_iter().map(|(key, value)| (key, value.unwrap_or(Value::Unit))).collect())
    } else {
        Value::List(entries.into_iter().map(|(key, _)| key).collect())
    }
}

/// Where the parts of a B-tree's node lie, in bytes from its start.
struct Node {
    key: usize,
    key_bytes: usize,
    value: Option<usize>,
    value_bytes: usize,
    keys_at: usize,
    values_at: usize,
    behind: usize,
}

impl<'a> Reader<'a> {
    fn extent_of(&self, kind: Option<usize>) -> Result<(usize, usize), ValueError> {
        kind.map_or(Ok((0, 1)), |kind| self.extent(kind))
    }

    pub(super) fn hash_table(&mut self, key: usize, value: Option<usize>, at: usize) -> Result<Value<'a>, ValueError> {
        let (length, capacity) = (self.count(at + 4)?, self.count(at + 8)?);
        let mut entries = Entries::new();
        if length > 0 {
            let controls_at = self.target(at)?;
            let controls = self.take(controls_at, capacity)?;
            let (key_bytes, key_align) = self.extent(key)?;
            let (value_bytes, value_align) = self.extent_of(value)?;
            let value_at = aligned(key_bytes, value_align);
            let entry_bytes = aligned(value_at + value_bytes, key_align.max(value_align));
            let taken = controls.iter().enumerate().filter(|(_, control)| **control & EMPTY == 0);
            for (index, _) in taken.take(length) {
                let back = entry_bytes.checked_mul(index + 1).ok_or(ValueError::TooLarge)?;
                let entry = controls_at.checked_sub(back).ok_or(ValueError::Outside { at: controls_at })?;
                let found = self.value(key, entry)?;
                let beside = value.map(|value| self.value(value, entry + value_at)).transpose()?;
                entries.push((found, beside));
            }
            if entries.len() < length {
                return Err(ValueError::NoSuchValue { at, expected: "hash table" });
            }
        }
        Ok(collected(entries, value.is_some()))
    }

    pub(super) fn tree(&mut self, key: usize, value: Option<usize>, at: usize) -> Result<Value<'a>, ValueError> {
        let length = self.count(at + 4)?;
        let mut entries = Entries::new();
        if length > 0 {
            let (key_bytes, key_align) = self.extent(key)?;
            let (value_bytes, value_align) = self.extent_of(value)?;
            let keys_at = aligned(1, key_align);
            let values_at = aligned(keys_at + key_bytes * NODE_ENTRIES, value_align);
            // Both kinds of nodes go on with what is aligned to 4.
            let behind = aligned(aligned(values_at + value_bytes * NODE_ENTRIES, key_align.max(value_align)), 4);
            let node = Node { key, key_bytes, value, value_bytes, keys_at, values_at, behind };
            self.node(&node, self.target(at)?, length, &mut entries)?;
            if entries.len() < length {
                return Err(ValueError::NoSuchValue { at, expected: "tree" });
            }
        }
        Ok(collected(entries, value.is_some()))
    }

    /// Adds what a node and those below it have, in order, up to `length` entries in all.
    fn node(&mut self, node: &Node, at: usize, length: usize, entries: &mut Entries<'a>) -> Result<(), ValueError> {
        self.spend()?;
        let behind = at.checked_add(node.behind).ok_or(ValueError::Outside { at })?;
        let (count, is_inner) = match self.byte(at)? {
            0 => (self.count(behind)?, false),
            1 => (NODE_ENTRIES, true),
            _ => return Err(ValueError::NoSuchValue { at, expected: "node of a tree" }),
        };
        if count > NODE_ENTRIES {
            return Err(ValueError::NoSuchValue { at, expected: "node of a tree" });
        }
        for index in 0..count {
            if is_inner {
                self.node_below(node, behind + 4 * index, length, entries)?;
            }
            if entries.len() >= length {
                return Ok(());
            }
            let key = self.value(node.key, at + node.keys_at + node.key_bytes * index)?;
            let value_at = at + node.values_at + node.value_bytes * index;
            let value = node.value.map(|value| self.value(value, value_at)).transpose()?;
            entries.push((key, value));
        }
        if is_inner { self.node_below(node, behind + 4 * NODE_ENTRIES, length, entries) } else { Ok(()) }
    }

    fn node_below(
        &mut self,
        node: &Node,
        pointer_at: usize,
        length: usize,
        entries: &mut Entries<'a>,
    ) -> Result<(), ValueError> {
        if entries.len() >= length || self.offset(pointer_at)? == NOWHERE {
            return Ok(());
        }
        let below = self.target(pointer_at)?;
        self.deeper(|reader| reader.node(node, below, length, entries))
    }
}
