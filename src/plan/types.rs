//! What a plan is made from and what it says.

use std::collections::HashMap;

use crate::device_map::MapDevice;
use crate::dtype::{DType, FloatType};
use crate::error::{Result, err};
use crate::shape::Shape;

/// Whose rules decide which modules are converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Profile {
    /// Convert only what both transformers 4.57 and 5.23 convert, and say so in an explicit skip
    /// list: the result loads everywhere.
    #[default]
    Portable,
    /// transformers 5.23.
    V5,
    /// transformers 4.57.
    V4,
    /// transformers 4.41, which differs from 4.57 in a handful of architectures.
    V441,
}

impl Profile {
    /// `portable`, `v5`, `v4` or `v4.41`.
    pub const fn name(self) -> &'static str {
        match self {
            Profile::Portable => "portable",
            Profile::V5 => "v5",
            Profile::V4 => "v4",
            Profile::V441 => "v4.41",
        }
    }

    /// Reads a profile's name.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "portable" => Ok(Profile::Portable),
            "v5" => Ok(Profile::V5),
            "v4" => Ok(Profile::V4),
            "v4.41" => Ok(Profile::V441),
            other => Err(err!(InvalidArgument, "profile \"{other}\": expected portable, v5, v4 or v4.41")),
        }
    }
}

/// How the architecture was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The model type stands in the table of architectures.
    Table,
    /// It does not: names, shapes and the config decided.
    Generic,
}

impl Mode {
    /// `table` or `generic`.
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Table => "table",
            Mode::Generic => "generic",
        }
    }

    /// Reads a mode's name.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "table" => Ok(Mode::Table),
            "generic" => Ok(Mode::Generic),
            other => Err(err!(InvalidArgument, "mode \"{other}\": expected table or generic")),
        }
    }
}

/// A tensor as the checkpoint's header describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceTensor {
    /// The full name, such as `model.layers.0.mlp.up_proj.weight`.
    pub name: String,
    /// The stored element type.
    pub dtype: DType,
    /// The stored shape.
    pub shape: Shape,
}

/// What happens to a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Cast to `dtype`, transpose if asked (GPT-2's `Conv1D` stores `[in, out]`), quantize.
    Quantize {
        /// Becomes `quant_state.dtype`.
        dtype: FloatType,
        /// Whether the stored matrix is `[in, out]`.
        transpose: bool,
    },
    /// Store as `dtype` (the source's own, or a cast between float types).
    Keep {
        /// The element type to store.
        dtype: DType,
    },
}

/// One tensor's fate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanEntry {
    /// The tensor.
    pub source: SourceTensor,
    /// What happens to it.
    pub action: Action,
    /// Why, in words.
    pub reason: String,
    /// Bytes in the source file.
    pub bytes_before: u64,
    /// Bytes in the output, statistics included.
    pub bytes_after: u64,
    /// Where it goes, if a device map was asked for.
    pub device: Option<MapDevice>,
}

impl PlanEntry {
    /// Whether the tensor becomes 4-bit.
    pub fn is_converted(&self) -> bool {
        matches!(self.action, Action::Quantize { .. })
    }
}

/// Every tensor's fate, in the order of the checkpoint, and the skip list that makes other readers
/// decide alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// `model_type` of config.json.
    pub model_type: Option<String>,
    /// The rules followed.
    pub profile: Profile,
    /// How the architecture was known.
    pub mode: Mode,
    /// The type to which float tensors are cast, with the exceptions that `entries` show.
    pub dtype: FloatType,
    /// What goes into `llm_int8_skip_modules`: full module paths. `None` writes `null` (leave it to
    /// the reader's own detection).
    pub skip_modules: Option<Vec<String>>,
    /// One entry per tensor.
    pub entries: Vec<PlanEntry>,
    /// What a person should know besides: who can read the result, patterns that name nothing.
    pub notes: Vec<String>,
}

/// Sums over a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanTotals {
    /// Tensors that become 4-bit.
    pub converted: u64,
    /// Tensors that stay.
    pub kept: u64,
    /// Bytes in the source.
    pub bytes_before: u64,
    /// Bytes in the output, statistics included, headers not.
    pub bytes_after: u64,
}

impl Plan {
    /// The entry of a tensor. Looks through all of them: for many names make an index.
    pub fn find(&self, name: &str) -> Option<&PlanEntry> {
        self.entries.iter().find(|e| e.source.name == name)
    }

    /// The number of each tensor's entry.
    pub fn index(&self) -> HashMap<&str, usize> {
        self.entries.iter().enumerate().map(|(i, e)| (e.source.name.as_str(), i)).collect()
    }

    /// The sums.
    pub fn totals(&self) -> PlanTotals {
        self.entries.iter().fold(PlanTotals::default(), |mut t, e| {
            match e.action {
                Action::Quantize { .. } => t.converted += 1,
                Action::Keep { .. } => t.kept += 1,
            }
            t.bytes_before = t.bytes_before.saturating_add(e.bytes_before);
            t.bytes_after = t.bytes_after.saturating_add(e.bytes_after);
            t
        })
    }
}
