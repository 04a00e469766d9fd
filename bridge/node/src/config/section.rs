//! Reading a configuration key by key, and taking down everything that is wrong instead of ending at the first.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use memlane::Pattern;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::near::nearest;
use super::problem::Problem;
use crate::units;

/// The keys of a kind of section.
#[derive(Debug)]
pub(crate) struct Keys {
    /// As people write its head.
    pub(crate) section: &'static str,
    pub(crate) keys: &'static [&'static str],
}

/// A value, and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) span: Range<usize>,
}

/// The text that is read, and what was found.
#[derive(Debug)]
pub(crate) struct Reader<'t> {
    pub(crate) text: &'t str,
    /// What relative paths are relative to.
    pub(crate) base: &'t Path,
    problems: RefCell<Vec<Found>>,
    lines: RefCell<Lines>,
}

/// Where what stands: the line of a key by the section it is in and its name; that of a section's head by no name.
pub(crate) type Lines = BTreeMap<(String, &'static str), usize>;

/// A problem, and whether it is that something isn't there.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) problem: Problem,
    pub(crate) is_missing: bool,
}

impl<'t> Reader<'t> {
    pub(crate) fn new(text: &'t str, base: &'t Path) -> Self {
        Self { text, base, problems: RefCell::default(), lines: RefCell::default() }
    }

    /// Takes down that what stands at `span` is wrong.
    pub(crate) fn wrong(&self, span: &Range<usize>, what: impl Into<String>, help: impl Into<String>) {
        let problem = Problem::at(self.text, span.clone(), what, help);
        // Where a value is broken, nothing stands in its place.
        self.problems.borrow_mut().push(Found { problem, is_missing: span.is_empty() });
    }

    /// Takes down that something isn't there that should be at `span`.
    pub(crate) fn missing(&self, span: &Range<usize>, what: impl Into<String>, help: impl Into<String>) {
        let problem = Problem::at(self.text, span.clone(), what, help);
        self.problems.borrow_mut().push(Found { problem, is_missing: true });
    }

    pub(crate) fn line(&self, span: &Range<usize>) -> usize {
        Problem::at(self.text, span.clone(), "", "").line
    }

    pub(crate) fn into_found(self) -> (Vec<Found>, Lines) {
        (self.problems.into_inner(), self.lines.into_inner())
    }
}

/// A table of the configuration.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    pub(crate) reader: &'a Reader<'a>,
    keys: &'static Keys,
    /// Which one it is, such as `journal[1]`.
    name: String,
    table: &'a DeTable<'a>,
    /// Its head.
    pub(crate) span: Range<usize>,
}

impl<'a> Section<'a> {
    /// Reads `table`, and takes down the keys that it can't have.
    pub(crate) fn new(
        reader: &'a Reader<'a>,
        keys: &'static Keys,
        name: String,
        table: &'a DeTable<'a>,
        span: Range<usize>,
    ) -> Self {
        for key in table.keys() {
            if !keys.keys.contains(&&**key.get_ref()) {
                let what = match keys.section {
                    "" => format!("there is no section `{}`", key.get_ref()),
                    section => format!("there is no key `{}` in {section}", key.get_ref()),
                };
                let help = match nearest(key.get_ref(), keys.keys) {
                    Some(meant) => format!("`{meant}` was meant?"),
                    None => format!("there are: {}", keys.keys.join(", ")),
                };
                reader.wrong(&key.span(), what, help);
            }
        }
        reader.lines.borrow_mut().insert((name.clone(), ""), reader.line(&span));
        Self { reader, keys, name, table, span }
    }

    /// What stands under `key`, which the section must know.
    fn value(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        assert!(self.keys.keys.contains(&key), "{key} is no key of {}", self.keys.section);
        let (found, value) = self.table.get_key_value(key)?;
        self.reader.lines.borrow_mut().insert((self.name.clone(), key), self.reader.line(&found.span()));
        Some(value)
    }

    /// Where the value of `key` stands; the head of the section, if it isn't there.
    pub(crate) fn span_of(&self, key: &'static str) -> Range<usize> {
        self.value(key).map_or_else(|| self.span.clone(), Spanned::span)
    }

    pub(crate) fn has(&self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// Takes down that `key` isn't there.
    pub(crate) fn lacks(&self, key: &'static str, help: &str) {
        self.reader.missing(&self.span, format!("{} has no `{key}`", self.keys.section), help);
    }

    /// The value of `key`, as `read` takes it; what that refuses is taken down.
    fn read<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&'a DeValue<'a>) -> Result<T, (String, String)>,
    ) -> Option<Placed<T>> {
        let value = self.value(key)?;
        match read(value.get_ref()) {
            Ok(taken) => Some(Placed { value: taken, span: value.span() }),
            Err((what, help)) => {
                self.reader.wrong(&value.span(), format!("`{key}` {what}"), help);
                None
            }
        }
    }

    pub(crate) fn text(&self, key: &'static str, example: &str) -> Option<Placed<&'a str>> {
        self.read(key, |value| value.as_str().ok_or_else(|| wrong_kind(value, "text", example)))
    }

    /// A text of which `parse` makes something.
    pub(crate) fn parsed<T>(
        &self,
        key: &'static str,
        example: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Placed<T>> {
        let text = self.text(key, example)?;
        match parse(text.value) {
            Ok(value) => Some(Placed { value, span: text.span }),
            Err(why) => {
                self.reader.wrong(&text.span, format!("`{key}` can't be {:?}: {why}", text.value), "");
                None
            }
        }
    }

    pub(crate) fn flag(&self, key: &'static str) -> Option<Placed<bool>> {
        self.read(key, |value| value.as_bool().ok_or_else(|| wrong_kind(value, "true or false", "true")))
    }

    /// One of several words.
    pub(crate) fn choice<T: Copy>(&self, key: &'static str, choices: &[(&'static str, T)]) -> Option<T> {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let text = self.text(key, &format!("{:?}", words[0]))?;
        let found = choices.iter().find(|(word, _)| *word == text.value);
        if found.is_none() {
            let all = words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
            let help = match nearest(text.value, &words) {
                Some(meant) => format!("{meant:?} was meant? It may be {all}"),
                None => format!("it may be {all}"),
            };
            self.reader.wrong(&text.span, format!("`{key}` can't be {:?}", text.value), help);
        }
        found.map(|(_, value)| *value)
    }

    /// A number, or a text of which `parse` makes one.
    fn number_or(
        &self,
        key: &'static str,
        example: &str,
        parse: impl FnOnce(&str) -> Result<u64, String>,
    ) -> Option<Placed<u64>> {
        let refused = |text: &str, why: String| (format!("can't be {text}: {why}"), String::new());
        self.read(key, |value| match value {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix())
                .map_err(|_| refused(number.as_str(), "it is less than nothing, or far too much".to_owned())),
            DeValue::String(text) => parse(text).map_err(|why| refused(&format!("{text:?}"), why)),
            _ => Err(wrong_kind(value, "a number", example)),
        })
    }

    /// A number of bytes, or a size such as `"128MiB"`.
    pub(crate) fn bytes(&self, key: &'static str) -> Option<Placed<u64>> {
        self.number_or(key, "\"128MiB\"", units::parse_bytes)
    }

    /// A whole number, or one such as `"10M"`.
    pub(crate) fn count(&self, key: &'static str) -> Option<Placed<u64>> {
        self.number_or(key, "1000", units::parse_count)
    }

    /// True, false, or a number in their place.
    pub(crate) fn flag_or_count(&self, key: &'static str, example: &str) -> Option<Placed<Result<bool, u64>>> {
        self.read(key, |value| match value {
            DeValue::Boolean(flag) => Ok(Ok(*flag)),
            DeValue::Integer(number) => {
                Ok(Err(u64::from_str_radix(number.as_str(), number.radix()).unwrap_or(u64::MAX)))
            }
            _ => Err(wrong_kind(value, "true, false or a number", example)),
        })
    }

    /// A number of seconds, or a span such as `"100ms"`.
    pub(crate) fn span_of_time(&self, key: &'static str) -> Option<Placed<Duration>> {
        let refused = |text: &str, why: String| (format!("can't be {text}: {why}"), String::new());
        self.read(key, |value| match value {
            DeValue::Integer(number) => {
                units::parse_duration(number.as_str()).map_err(|why| refused(number.as_str(), why))
            }
            DeValue::Float(number) => {
                units::parse_duration(number.as_str()).map_err(|why| refused(number.as_str(), why))
            }
            DeValue::String(text) => units::parse_duration(text).map_err(|why| refused(&format!("{text:?}"), why)),
            _ => Err(wrong_kind(value, "a span of time", "\"100ms\"")),
        })
    }

    /// A path; a relative one begins where the configuration lies.
    pub(crate) fn path(&self, key: &'static str) -> Option<Placed<PathBuf>> {
        let base = self.reader.base;
        self.parsed(key, "\"/var/lib/memlane\"", |text| path_from(base, text))
    }

    /// Texts in brackets, none of them twice.
    pub(crate) fn list<T: PartialEq>(
        &self,
        key: &'static str,
        example: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Placed<Vec<T>>> {
        let list = self.read(key, |value| {
            let kind = format!("a list, such as [{example}]");
            value.as_array().ok_or_else(|| wrong_kind(value, &kind, ""))
        })?;
        let (mut taken, mut is_sound): (Vec<(T, usize)>, _) = (Vec::new(), true);
        for item in list.value.iter() {
            let parsed = match item.get_ref().as_str() {
                Some(text) => parse(text).map_err(|why| (format!("`{key}` can't have {text:?}: {why}"), String::new())),
                None => {
                    let (what, help) = wrong_kind(item.get_ref(), "text", example);
                    Err((format!("an entry of `{key}` {what}"), help))
                }
            };
            let line = self.reader.line(&item.span());
            match parsed {
                Ok(value) => match taken.iter().find(|(before, _)| *before == value) {
                    Some((_, first)) => {
                        is_sound = false;
                        let what = format!("`{key}` has this twice");
                        self.reader.wrong(&item.span(), what, format!("it stands in line {first} already"));
                    }
                    None => taken.push((value, line)),
                },
                Err((what, help)) => {
                    is_sound = false;
                    self.reader.wrong(&item.span(), what, help);
                }
            }
        }
        is_sound.then(|| Placed { value: taken.into_iter().map(|(value, _)| value).collect(), span: list.span })
    }

    pub(crate) fn patterns(&self, key: &'static str) -> Option<Placed<Vec<Pattern>>> {
        self.list(key, "\"md.>\"", |text| text.parse::<Pattern>().map_err(|error| error.reason.to_owned() + PATTERNS))
    }

    /// The one table under `key`.
    pub(crate) fn section(&self, key: &'static str, keys: &'static Keys) -> Option<Section<'a>> {
        let table = self.read(key, |value| {
            value.as_table().ok_or_else(|| (format!("is no section: write {}", keys.section), String::new()))
        })?;
        Some(Section::new(self.reader, keys, self.name_of(key), table.value, table.span))
    }

    /// The tables under `key`, each with a head of its own.
    pub(crate) fn sections(&self, key: &'static str, keys: &'static Keys) -> Vec<Section<'a>> {
        let read = self.read(key, |value| {
            let all = value.as_array().filter(|all| all.iter().all(|each| each.get_ref().is_table()));
            all.ok_or_else(|| (format!("may be there several times: write {}", keys.section), String::new()))
        });
        let tables = read.into_iter().flat_map(|all| all.value.iter());
        let section = |(index, each): (usize, &'a Spanned<DeValue<'a>>)| {
            let name = format!("{}[{index}]", self.name_of(key));
            let table = each.get_ref().as_table()?;
            Some(Section::new(self.reader, keys, name, table, each.span()))
        };
        tables.enumerate().filter_map(section).collect()
    }

    fn name_of(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}

const PATTERNS: &str = "; patterns are like md.*.trades or md.>";

fn path_from(base: &Path, text: &str) -> Result<PathBuf, String> {
    if text.is_empty() || text.contains('\0') {
        return Err("no path is like that".to_owned());
    }
    Ok(base.join(text))
}

/// What to say of a value of another kind than `wanted`.
fn wrong_kind(value: &DeValue<'_>, wanted: &str, example: &str) -> (String, String) {
    let found = match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    };
    let help = match (wanted, value) {
        ("text", DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_)) => "put it in quotes".to_owned(),
        ("true or false", DeValue::String(_)) => "leave the quotes out".to_owned(),
        _ if example.is_empty() => String::new(),
        _ => format!("such as {example}"),
    };
    (format!("is {found}, and must be {wanted}"), help)
}
