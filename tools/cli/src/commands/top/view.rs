//! What of it all is shown, and what keys change about that: no drawing here, and no looking.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::columns::{self, TOPICS};
use crate::commands::looks::TopicFigures;

/// The longest filter.
const FILTER_LETTERS_MAX: usize = 64;

/// What is to be shown.
#[derive(Debug)]
pub(super) struct View {
    /// An index into [`TOPICS`].
    pub(super) sort: usize,
    pub(super) is_descending: bool,
    /// Only topics with this in their name, or in that of a participant.
    pub(super) filter: String,
    /// Whether keys go into the filter.
    pub(super) is_typing: bool,
    /// By name, so that it stays the same when others come, go or change places.
    pub(super) selected: Option<String>,
    /// Whether the selected topic is shown in detail.
    pub(super) is_detail: bool,
    /// How far the detail is scrolled.
    pub(super) scroll: usize,
    pub(super) is_paused: bool,
}

/// Whether to go on after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    GoOn,
    End,
}

impl View {
    /// By rate, the busiest first.
    pub(super) fn new() -> Self {
        let sort = TOPICS.iter().position(|column| column.head == "MSG/S").unwrap_or(0);
        Self {
            sort,
            is_descending: true,
            filter: String::new(),
            is_typing: false,
            selected: None,
            is_detail: false,
            scroll: 0,
            is_paused: false,
        }
    }

    /// The topics that are shown, in their order.
    pub(super) fn rows(&self, figures: &[TopicFigures]) -> Vec<TopicFigures> {
        let wanted = self.filter.to_lowercase();
        let has = |text: &str| text.to_lowercase().contains(&wanted);
        let is_wanted = |topic: &&TopicFigures| {
            has(&topic.topic)
                || topic.participants.iter().any(|one| has(one.member.called()) || has(&one.member.tags()))
        };
        let mut rows: Vec<TopicFigures> = figures.iter().filter(is_wanted).cloned().collect();
        columns::sort(&mut rows, &TOPICS, self.sort, self.is_descending);
        rows
    }

    /// Where the selected topic stands among `rows`: the first, if it isn't there.
    pub(super) fn selected_row(&self, rows: &[TopicFigures]) -> usize {
        let is_selected = |row: &TopicFigures| Some(&row.topic) == self.selected.as_ref();
        rows.iter().position(is_selected).unwrap_or(0)
    }

    /// Does what a key asks for; `rows` are those that are shown, `page` how many of them fit.
    pub(super) fn key(&mut self, key: KeyEvent, rows: &[TopicFigures], page: usize) -> Then {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'd') if is_control => return Then::End,
            _ if self.is_typing => self.typed(key),
            KeyCode::Char('q') => return Then::End,
            KeyCode::Esc if self.is_detail => self.is_detail = false,
            KeyCode::Esc if !self.filter.is_empty() => self.filter.clear(),
            KeyCode::Esc => return Then::End,
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Enter | KeyCode::Backspace if self.is_detail => self.is_detail = false,
            KeyCode::Up | KeyCode::Char('k') => self.go(rows, -1),
            KeyCode::Down | KeyCode::Char('j') => self.go(rows, 1),
            KeyCode::PageUp => self.go(rows, -(page as isize)),
            KeyCode::PageDown => self.go(rows, page as isize),
            KeyCode::Home => self.go(rows, isize::MIN),
            KeyCode::End => self.go(rows, isize::MAX),
            _ if self.is_detail => {}
            KeyCode::Enter if !rows.is_empty() => {
                self.selected = Some(rows[self.selected_row(rows)].topic.clone());
                (self.is_detail, self.scroll) = (true, 0);
            }
            KeyCode::Left | KeyCode::Char('<') => self.sort = (self.sort + TOPICS.len() - 1) % TOPICS.len(),
            KeyCode::Right | KeyCode::Char('>') => self.sort = (self.sort + 1) % TOPICS.len(),
            KeyCode::Char('r') => self.is_descending = !self.is_descending,
            KeyCode::Char('/') => self.is_typing = true,
            _ => {}
        }
        Then::GoOn
    }

    fn typed(&mut self, key: KeyEvent) {
        match key.code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(letter) if self.filter.chars().count() < FILTER_LETTERS_MAX => self.filter.push(letter),
            _ => {}
        }
    }

    /// Selects the row so far down; in the detail, scrolls so far.
    fn go(&mut self, rows: &[TopicFigures], down: isize) {
        if self.is_detail {
            let topic = rows.iter().find(|row| Some(&row.topic) == self.selected.as_ref());
            let last = topic.map_or(0, |topic| topic.participants.len().saturating_sub(1));
            self.scroll = self.scroll.saturating_add_signed(down).min(last);
        } else if let Some(last) = rows.len().checked_sub(1) {
            let row = self.selected_row(rows).saturating_add_signed(down).min(last);
            self.selected = Some(rows[row].topic.clone());
        }
    }
}
