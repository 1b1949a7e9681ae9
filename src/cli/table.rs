//! Tables and sizes for people.

use comfy_table::{CellAlignment, ContentArrangement, Table, TableComponent, presets};

/// A table with a header; columns named in `right` are aligned to the right.
pub(crate) fn new(header: &[&str], right: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_style(TableComponent::HeaderLines, '─').set_style(TableComponent::BottomBorder, '─');
    table.set_header(header);
    for (i, name) in header.iter().enumerate() {
        if right.contains(name)
            && let Some(column) = table.column_mut(i)
        {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Bytes in the unit that fits: `1.21 MB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [(&str, f64); 4] = [("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("KB", 1e3)];
    match UNITS.iter().find(|(_, size)| count as f64 >= *size) {
        Some((unit, size)) => format!("{:.2} {unit}", count as f64 / size),
        None => format!("{count} B"),
    }
}

/// `[out, in]`
pub(crate) fn shape(dims: &[u64]) -> String {
    format!("{dims:?}")
}
