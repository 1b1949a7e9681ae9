//! Tables and sizes for people.

use comfy_table::{CellAlignment, ContentArrangement, Table, TableComponent, presets};

/// A table with a header; columns named in `right` are aligned to the right.
pub(crate) fn new(header: &[&str], right: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    for line in [
        TableComponent::HeaderLines,
        TableComponent::MiddleHeaderIntersections,
        TableComponent::BottomBorder,
        TableComponent::BottomBorderIntersections,
    ] {
        table.set_style(line, '─');
    }
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

/// `1 tensor`, `3 tensors`
pub(crate) fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Lines of cells in columns two spaces apart, those of `right` aligned to the right. The last cell of
/// a line takes no part in the width of its column.
pub(crate) fn columns(lines: &[Vec<String>], right: &[usize]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for line in lines {
        for (i, cell) in line.iter().enumerate().take(line.len().saturating_sub(1)) {
            let width = cell.chars().count();
            match widths.get_mut(i) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
    }
    let mut text = String::new();
    for line in lines {
        let mut row = String::new();
        for (i, cell) in line.iter().enumerate() {
            let width = widths.get(i).copied().unwrap_or(0);
            let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
            let (before, after) =
                if right.contains(&i) { (padding, String::new()) } else { (String::new(), padding) };
            row += &format!("{}{before}{cell}{after}", if i == 0 { "" } else { "  " });
        }
        text += row.trim_end();
        text.push('\n');
    }
    text
}
