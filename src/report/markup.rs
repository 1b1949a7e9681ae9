//! Writing HTML. Every text and every attribute passes through one function that escapes it; elements
//! are closed by construction, so that the page is well-formed XML as well.

use std::fmt::Display;

use crate::cli::names::{is_dangerous, is_number};

/// A piece of a page that grows.
#[derive(Debug, Default)]
pub(crate) struct Markup {
    out: String,
}

/// Attributes: names (constants of this program) and values.
pub(crate) type Attributes<'a> = &'a [(&'static str, &'a dyn Display)];

/// Elements without content.
const VOID: [&str; 2] = ["meta", "wbr"];

impl Markup {
    /// The page so far.
    pub fn into_string(self) -> String {
        self.out
    }

    /// What stands before the root element.
    pub fn doctype(&mut self) {
        self.out.push_str("<!DOCTYPE html>\n");
    }

    /// An element with whatever `content` writes.
    pub fn element(&mut self, tag: &'static str, attributes: Attributes, content: impl FnOnce(&mut Self)) {
        self.out.push('<');
        self.out.push_str(tag);
        for (name, value) in attributes {
            self.out.push(' ');
            self.out.push_str(name);
            self.out.push_str("=\"");
            self.text(value);
            self.out.push('"');
        }
        if VOID.contains(&tag) {
            self.out.push_str("/>");
            return;
        }
        self.out.push('>');
        content(self);
        self.out.push_str("</");
        self.out.push_str(tag);
        self.out.push('>');
        if !matches!(tag, "span" | "td" | "th" | "code" | "b" | "dt" | "dd" | "title" | "rect") {
            self.out.push('\n');
        }
    }

    /// An element with text in it.
    pub fn leaf(&mut self, tag: &'static str, attributes: Attributes, text: impl Display) {
        self.element(tag, attributes, |m| m.text(&text));
    }

    /// An element without content.
    pub fn void(&mut self, tag: &'static str, attributes: Attributes) {
        self.element(tag, attributes, |_| {});
    }

    /// Text, escaped; what could hide or reorder it is made visible.
    pub fn text(&mut self, text: &dyn Display) {
        for c in text.to_string().chars() {
            match c {
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                '"' => self.out.push_str("&quot;"),
                '\'' => self.out.push_str("&#39;"),
                c if is_dangerous(c)
                    || ('\u{fdd0}'..='\u{fdef}').contains(&c)
                    || u32::from(c) & 0xfffe == 0xfffe =>
                {
                    self.out.extend(c.escape_unicode());
                }
                c => self.out.push(c),
            }
        }
    }

    /// Text that may be broken after the dots of a path.
    pub fn path(&mut self, text: &str) {
        let components = text.split_inclusive('.').collect::<Vec<_>>();
        for (i, component) in components.iter().enumerate() {
            // Not within numbers, nor where a path could not be too long.
            if i > 0
                && text.len() > 16
                && !component.starts_with([' ', '*'])
                && !is_number(component.trim_end_matches('.'))
            {
                self.void("wbr", &[]);
            }
            self.text(component);
        }
    }

    /// The style sheet, which is a constant of this program and holds nothing to escape.
    pub fn style(&mut self, css: &'static str) {
        self.out.push_str("<style>\n");
        self.out.push_str(css);
        self.out.push_str("</style>\n");
    }

    /// A table in a frame of its own that scrolls if it must. Columns of `numbers` are aligned right.
    pub fn table(&mut self, caption: &str, header: &[&str], numbers: &[usize], rows: &[Vec<String>]) {
        self.element(
            "div",
            &[("class", &"scroll"), ("tabindex", &0), ("role", &"region"), ("aria-label", &caption)],
            |m| {
                m.element("table", &[], |m| {
                    m.leaf("caption", &[], caption);
                    m.element("thead", &[], |m| {
                        m.element("tr", &[], |m| {
                            for (i, name) in header.iter().enumerate() {
                                m.leaf("th", &[("scope", &"col"), ("class", &class(numbers, i))], name);
                            }
                        });
                    });
                    m.element("tbody", &[], |m| rows.iter().for_each(|row| m.row(row, numbers)));
                });
            },
        );
    }

    fn row(&mut self, cells: &[String], numbers: &[usize]) {
        self.element("tr", &[], |m| {
            for (i, cell) in cells.iter().enumerate() {
                match i {
                    0 => {
                        m.element("th", &[("scope", &"row"), ("class", &class(numbers, i))], |m| m.path(cell))
                    }
                    _ => m.element("td", &[("class", &class(numbers, i))], |m| m.path(cell)),
                }
            }
        });
    }
}

fn class(numbers: &[usize], column: usize) -> &'static str {
    if numbers.contains(&column) { "n" } else { "t" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_through_unescaped() {
        let hostile = "</title><script>alert('x')</script>\" onload=\"&amp;\u{202e}\u{0}\u{ffff}";
        let mut page = Markup::default();
        page.leaf("p", &[("title", &hostile)], hostile);
        let page = page.into_string();
        let escaped = "&lt;/title&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot; onload=&quot;&amp;amp;\\u{202e}\\u{0}\\u{ffff}";
        assert_eq!(page, format!("<p title=\"{escaped}\">{escaped}</p>\n"));
    }
}
