//! `memlane man`: the help as manual pages.
//!
//! What stands below the help of a command has blank lines between its blocks. A block of indented lines under a heading,
//! such as the examples, becomes a section, line by line as it is; the others are paragraphs of the description.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use clap_mangen::Man as Page;
use clap_mangen::roff::{Roff, roman};

use super::ending::Ending;
use super::output::Output;

const AFTER_HELP: &str = "\
Examples:
  memlane man | man -l -                       read the main page
  memlane man --out ~/.local/share/man/man1    all pages, for `man memlane-pub`";

/// Print the manual page, or write those of all subcommands
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Man {
    /// Write a page for the command and one for each subcommand to this directory; it is made if it isn't there
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Man {
    /// `command` is all that is described.
    pub(super) fn run(&self, command: clap::Command) -> anyhow::Result<Ending> {
        // `memlane help` has nothing to say that its manual page doesn't.
        let mut command = command.disable_help_subcommand(true);
        command.build();
        match &self.out {
            Some(directory) => std::fs::create_dir_all(directory)
                .and_then(|()| write_pages(&command, directory))
                .with_context(|| format!("can't write manual pages to {}", directory.display()))?,
            None => {
                let mut page = Vec::new();
                write_page(&command, &mut page)?;
                let mut output = Output::stdout()?;
                output.bytes(&page)?;
                output.flush()?;
            }
        }
        Ok(Ending::Done)
    }
}

/// Writes the page of a command and those of its subcommands.
fn write_pages(command: &clap::Command, directory: &Path) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(directory.join(Page::new(command.clone()).get_filename()))?);
    write_page(command, &mut file)?;
    file.flush()?;
    command.get_subcommands().try_for_each(|subcommand| write_pages(subcommand, directory))
}

fn write_page(command: &clap::Command, writer: &mut dyn Write) -> io::Result<()> {
    // It would name the subcommand alone, and no version.
    let page = Page::new(command.clone()).source(concat!("memlane ", env!("CARGO_PKG_VERSION")));
    let after_help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (mut paragraphs, mut sections) = (Roff::new(), Roff::new());
    for block in after_help.split("\n\n") {
        match block.split_once(":\n").filter(|(_, lines)| lines.starts_with("  ")) {
            Some((heading, lines)) => write_section(heading, lines, &mut sections),
            None => {
                paragraphs.control("PP", []).text([roman(block)]);
            }
        }
    }
    page.render_title(writer)?;
    page.render_name_section(writer)?;
    page.render_synopsis_section(writer)?;
    page.render_description_section(writer)?;
    paragraphs.to_writer(writer)?;
    page.render_options_section(writer)?;
    if command.has_subcommands() {
        page.render_subcommands_section(writer)?;
    }
    sections.to_writer(writer)?;
    if command.get_version().is_some() { page.render_version_section(writer) } else { Ok(()) }
}

/// Lines that keep their breaks; under a sentence they are no section of their own.
fn write_section(heading: &str, lines: &str, roff: &mut Roff) {
    if heading.split(' ').count() > 2 {
        roff.control("PP", []).text([roman(format!("{heading}:"))]);
    } else {
        roff.control("SH", [heading.to_uppercase().as_str()]);
    }
    roff.control("nf", []);
    for line in lines.lines() {
        roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
    }
    roff.control("fi", []);
}
