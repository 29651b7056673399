//! Tables for people, lines of JSON for programs.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::context::Context;

/// One object on one line.
pub(crate) fn json(context: &mut Context, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut context.stdout, value).map_err(io::Error::from)?;
    context.stdout.write_all(b"\n")
}

/// Columns without lines. `right` names the columns of numbers.
pub(crate) fn table(headings: &[&str], right: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header(headings.iter().map(|heading| heading.to_uppercase()));
    for (number, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if right.contains(&number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

pub(crate) fn print(context: &mut Context, table: &Table) -> io::Result<()> {
    for line in table.lines() {
        writeln!(context.stdout, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Text that somebody else wrote, for a terminal: what would move its cursor, change its colors or turn the text's
/// direction is seen instead of done.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_command) {
        return Cow::Borrowed(text);
    }
    let mut seen = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        let _ = match letter {
            '\n' => seen.write_str("\\n"),
            '\r' => seen.write_str("\\r"),
            '\t' => seen.write_str("\\t"),
            _ if letter.is_ascii_control() => write!(seen, "\\x{:02x}", u32::from(letter)),
            _ if is_command(letter) => write!(seen, "\\u{{{:x}}}", u32::from(letter)),
            _ => seen.write_char(letter),
        };
    }
    Cow::Owned(seen)
}

/// Controls, line ends of Unicode and marks of the text's direction.
fn is_command(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// To three decimals, as people and programs want it.
pub(crate) fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_shows_what_others_wrote_and_does_not_obey_it() {
        for (written, shown) in [
            ("plain text, ünïcode, \\x", "plain text, ünïcode, \\x"),
            ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
            ("one\r\ntwo\tthree\x7f", "one\\r\\ntwo\\tthree\\x7f"),
            ("\u{9b}2J \u{202e}drow", "\\u{9b}2J \\u{202e}drow"),
        ] {
            assert_eq!(visible(written), shown);
        }
    }
}
