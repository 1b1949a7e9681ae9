//! Which tensors of a checkpoint belong together: a quantized weight `X` is stored as `X` (packed
//! codes) and its statistics `X.absmax`, `X.quant_map`, …, `X.quant_state.bitsandbytes__nf4`.

use crate::codebook::QuantType;
use crate::error::{Result, err};

use super::header::quoted;

/// What a person means by "a tensor of the checkpoint".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A plain tensor: its position among the tensors.
    Tensor(usize),
    /// A quantized weight.
    Weight(WeightEntry),
}

/// The parts of a quantized weight. They may lie in different files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightEntry {
    /// The weight's name, which is also that of its packed codes.
    pub name: String,
    /// What its quant state's name says.
    pub quant_type: QuantType,
    /// Part name (`""` for the codes, `absmax`, …) and position among the tensors, codes first.
    pub parts: Vec<(&'static str, usize)>,
}

/// The part names besides the codes, in the order bitsandbytes writes them.
const STATISTICS: [&str; 4] = ["absmax", "quant_map", "nested_absmax", "nested_quant_map"];

const fn quant_state_part(quant_type: QuantType) -> &'static str {
    match quant_type {
        QuantType::Nf4 => "quant_state.bitsandbytes__nf4",
        QuantType::Fp4 => "quant_state.bitsandbytes__fp4",
    }
}

/// Splits `X.quant_state.bitsandbytes__nf4` into `X` and NF4.
fn quant_state_owner(name: &str) -> Option<(&str, QuantType)> {
    [QuantType::Nf4, QuantType::Fp4].into_iter().find_map(|quant_type| {
        let owner = name.strip_suffix(quant_state_part(quant_type))?.strip_suffix('.')?;
        Some((owner, quant_type))
    })
}

/// Groups tensors (given in natural order of their names) into entries in the same order. A weight
/// whose codes are missing, or that has two quant states, is left as plain tensors: asking for it
/// as a weight then says what is wrong ([`explain_missing`]).
pub(super) fn group<'a>(
    count: usize,
    name: impl Fn(usize) -> &'a str,
    find: impl Fn(&str) -> Option<usize>,
) -> Vec<Entry> {
    let mut part_of: Vec<Option<usize>> = vec![None; count];
    let mut weights: Vec<Option<WeightEntry>> = (0..count).map(|_| None).collect();
    for i in 0..count {
        let Some((owner, quant_type)) = quant_state_owner(name(i)) else { continue };
        let Some(codes) = find(owner) else { continue };
        let other = match quant_type {
            QuantType::Nf4 => QuantType::Fp4,
            QuantType::Fp4 => QuantType::Nf4,
        };
        if find(&format!("{owner}.{}", quant_state_part(other))).is_some() {
            continue;
        }
        let mut parts = vec![("", codes)];
        parts.extend(STATISTICS.iter().filter_map(|&s| Some((s, find(&format!("{owner}.{s}"))?))));
        parts.push((quant_state_part(quant_type), i));
        for &(_, part) in &parts {
            part_of[part] = Some(codes);
        }
        weights[codes] = Some(WeightEntry { name: owner.to_owned(), quant_type, parts });
    }
    (0..count)
        .filter_map(|i| match (weights[i].take(), part_of[i]) {
            (Some(weight), _) => Some(Entry::Weight(weight)),
            (None, Some(_)) => None,
            (None, None) => Some(Entry::Tensor(i)),
        })
        .collect()
}

/// Why `name` is not a quantized weight, although that is what was asked for.
pub(super) fn explain_missing(name: &str, find: impl Fn(&str) -> Option<usize>) -> crate::Error {
    let has = |part: &str| find(&format!("{name}.{part}")).is_some();
    let (nf4, fp4) = (has(quant_state_part(QuantType::Nf4)), has(quant_state_part(QuantType::Fp4)));
    let shown = quoted(name);
    match (find(name), nf4, fp4) {
        (_, true, true) => {
            err!(Format, "weight {shown}: has quant states for both nf4 and fp4; exactly one is expected")
        }
        (None, true, _) | (None, _, true) => {
            err!(
                Format,
                "weight {shown}: its quant state is there, but the tensor of packed codes is missing"
            )
        }
        (None, false, false) => match STATISTICS.iter().find(|s| has(s)) {
            Some(part) => err!(
                Format,
                "weight {shown}: {name}.{part} is there, but the packed codes and the quant state are missing"
            ),
            None => err!(NotFound, "no tensor named {shown}"),
        },
        (Some(_), ..) => match STATISTICS.iter().find(|s| has(s)) {
            Some(part) => err!(
                Format,
                "weight {shown}: {name}.{part} is there, but {name}.quant_state.bitsandbytes__nf4 (or fp4) is missing"
            ),
            None => err!(InvalidArgument, "tensor {shown} is not a quantized weight: it has no quant state"),
        },
    }
}

/// Checks what grouping leaves over.
pub(super) fn expect_weight<'a>(
    entry: Option<&'a Entry>,
    name: &str,
    find: impl Fn(&str) -> Option<usize>,
) -> Result<&'a WeightEntry> {
    match entry {
        Some(Entry::Weight(weight)) => Ok(weight),
        _ => Err(explain_missing(name, find)),
    }
}
