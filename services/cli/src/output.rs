//! Tables for people, lines of JSON for programs.

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

/// To three decimals, as people and programs want it.
pub(crate) fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}
