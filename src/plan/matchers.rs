//! How readers of a checkpoint match module paths with `llm_int8_skip_modules`: four ways, none like
//! another.

use std::collections::{BTreeSet, HashMap};

use regex_lite::Regex;

use crate::error::{Result, err};

/// A reader's way of matching a module path `M` with a pattern `K`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reader {
    /// transformers 4.x: `K` is the last component of `M`, or equals `M`, or `K.` stands anywhere in `M`.
    V4,
    /// transformers 5.0 to 5.20: `K` is a regular expression that matches at the start of `M`, however
    /// far, or `M` ends with `K`.
    V5Early,
    /// transformers 5.21 and later: as before, but the match must end at a dot or at the end of `M`.
    V5,
    /// vLLM and SGLang: `K` is a component of `M` or a dotted start of it.
    Vllm,
}

impl Reader {
    /// All of them.
    pub const ALL: [Reader; 4] = [Reader::V4, Reader::V5Early, Reader::V5, Reader::Vllm];

    /// A name for messages.
    pub const fn name(self) -> &'static str {
        match self {
            Reader::V4 => "transformers 4",
            Reader::V5Early => "transformers 5.0 to 5.20",
            Reader::V5 => "transformers 5.21 and later",
            Reader::Vllm => "vLLM",
        }
    }
}

/// Patterns, prepared so that a match costs the same however many there are.
#[derive(Debug, Default)]
pub struct PatternSet {
    patterns: Vec<String>,
    /// Pattern to its number.
    exact: HashMap<String, usize>,
    /// Lengths of the patterns, in bytes.
    lengths: Vec<usize>,
    /// For patterns that as regular expressions are plain text but for their dots, which match any
    /// character: lengths and places of the dots.
    shapes: Vec<Shape>,
    /// Patterns that are more than plain text.
    regexes: Vec<Expression>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    length: usize,
    dots: Vec<usize>,
}

#[derive(Debug)]
struct Expression {
    index: usize,
    /// The pattern, matching a whole text.
    whole: Regex,
    /// The pattern, matching the start of a text.
    start: Regex,
}

impl PatternSet {
    /// Prepares patterns. Text with regular-expression syntax must be valid as such.
    pub fn new<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Result<Self> {
        let mut set = PatternSet::default();
        let mut lengths = BTreeSet::new();
        let mut shapes = BTreeSet::new();
        for pattern in patterns {
            let pattern = pattern.as_ref();
            if set.exact.contains_key(pattern) {
                continue;
            }
            let index = set.patterns.len();
            set.patterns.push(pattern.to_owned());
            set.exact.insert(pattern.to_owned(), index);
            lengths.insert(pattern.len());
            if is_plain(pattern) {
                let dots = pattern.bytes().enumerate().filter(|(_, b)| *b == b'.').map(|(i, _)| i);
                shapes.insert(Shape { length: pattern.len(), dots: dots.collect() });
            } else {
                set.regexes.push(Expression {
                    index,
                    whole: compile(pattern, &format!(r"\A(?:{pattern})\z"))?,
                    start: compile(pattern, &format!(r"\A(?:{pattern})"))?,
                });
            }
        }
        set.lengths = lengths.into_iter().collect();
        set.shapes = shapes.into_iter().collect();
        Ok(set)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// A pattern by which `reader` skips `module`.
    pub fn skips(&self, reader: Reader, module: &str) -> Option<&str> {
        if self.is_empty() {
            return None;
        }
        let index = match reader {
            Reader::V4 => self.v4(module),
            Reader::V5Early => self.v5(module, false),
            Reader::V5 => self.v5(module, true),
            Reader::Vllm => self.vllm(module),
        };
        index.map(|i| self.patterns[i].as_str())
    }

    /// An upper bound for the work of one match, in look-ups.
    pub fn cost(&self) -> u64 {
        (8 * self.lengths.len() + self.shapes.len() + 64 * self.regexes.len()) as u64
    }

    fn find(&self, text: Option<&str>) -> Option<usize> {
        self.exact.get(text?).copied()
    }

    fn v4(&self, module: &str) -> Option<usize> {
        let last = super::names::leaf(module);
        let dots = module.bytes().enumerate().filter(|(_, b)| *b == b'.').map(|(i, _)| i);
        self.find(Some(last)).or_else(|| self.find(Some(module))).or_else(|| {
            let mut ends = dots;
            ends.find_map(|end| {
                let starts = self.lengths.iter().filter_map(|length| end.checked_sub(*length));
                starts.filter_map(|start| self.find(module.get(start..end))).next()
            })
        })
    }

    fn v5(&self, module: &str, anchored: bool) -> Option<usize> {
        let ends_with = || {
            let starts = self.lengths.iter().filter_map(|length| module.len().checked_sub(*length));
            starts.filter_map(|start| self.find(module.get(start..))).next()
        };
        let starts_with = || {
            let mut masked = Vec::new();
            let mut fitting = self.shapes.iter().filter(|s| s.length <= module.len());
            fitting.find_map(|shape| {
                if anchored && !is_boundary(module, shape.length) {
                    return None;
                }
                masked.clear();
                masked.extend_from_slice(&module.as_bytes()[..shape.length]);
                shape.dots.iter().for_each(|&dot| masked[dot] = b'.');
                self.find(std::str::from_utf8(&masked).ok())
            })
        };
        let expression = || {
            let matches = |e: &&Expression| match anchored {
                false => e.start.is_match(module),
                true => (0..=module.len())
                    .filter(|&end| is_boundary(module, end))
                    .any(|end| e.whole.is_match(&module[..end])),
            };
            self.regexes.iter().find(matches).map(|e| e.index)
        };
        ends_with().or_else(starts_with).or_else(expression)
    }

    fn vllm(&self, module: &str) -> Option<usize> {
        let ends = module.bytes().enumerate().filter(|(_, b)| *b == b'.').map(|(i, _)| i);
        let mut prefixes = ends.chain([module.len()]);
        module
            .split('.')
            .find_map(|component| self.find(Some(component)))
            .or_else(|| prefixes.find_map(|end| self.find(module.get(..end))))
    }
}

/// Whether a 5.21 match may end here: after a dot, before a dot, or at the end.
fn is_boundary(module: &str, end: usize) -> bool {
    let bytes = module.as_bytes();
    end == bytes.len() || bytes.get(end) == Some(&b'.') || (end > 0 && bytes[end - 1] == b'.')
}

/// Whether a pattern means itself as a regular expression, but for its dots.
pub fn is_plain(pattern: &str) -> bool {
    pattern.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

fn compile(pattern: &str, expression: &str) -> Result<Regex> {
    Regex::new(expression).map_err(|e| {
        err!(
            InvalidArgument,
            "skip list entry \"{pattern}\": transformers 5 reads entries as regular expressions, and \
             this is none that can be read here: {e}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(reader: Reader, pattern: &str, module: &str) -> bool {
        PatternSet::new([pattern]).unwrap().skips(reader, module).is_some()
    }

    #[test]
    fn readers_differ_as_documented() {
        use Reader::*;
        // (pattern, module, [4.x, 5.0-5.20, 5.21+, vLLM])
        let cases = [
            ("lm_head", "lm_head", [true; 4]),
            ("model.layers.0.mlp", "model.layers.0.mlp.up_proj", [true; 4]),
            ("model.layers.0.mlp.gate", "model.layers.0.mlp.gate_proj", [false, true, false, false]),
            ("model.layers.1", "model.layers.10.mlp.up_proj", [false, true, false, false]),
            ("mlp", "model.layers.0.mlp.up_proj", [true, false, false, true]),
            ("q_proj", "model.layers.0.self_attn.q_proj", [true, true, true, true]),
            ("head", "lm_head", [false, true, true, false]),
            ("wo", "decoder.two", [false, true, true, false]),
            ("output", "encoder.attention.output.dense", [true, false, false, true]),
            ("put", "encoder.output.dense", [true, false, false, false]),
            ("model.layers.0.x", "model_layers.0.x.y", [false, true, true, false]),
            (r"model\.layers\.[01]\.mlp", "model.layers.1.mlp.up_proj", [false, true, true, false]),
            (r".*\.mlp\.gate", "model.layers.0.mlp.gate_proj", [false, true, false, false]),
            (r"a|model\.layers", "model.layers.0", [false, true, true, false]),
            ("", "model.layers.0", [true, true, true, false]),
        ];
        for (pattern, module, expected) in cases {
            let got = [V4, V5Early, V5, Vllm].map(|r| hit(r, pattern, module));
            assert_eq!(got, expected, "{pattern} on {module}");
        }
        assert!(PatternSet::new(["(unclosed"]).is_err());
    }
}
