//! What the caller may ask of a plan.

use super::types::Profile;
use crate::device_map::DeviceMapOptions;
use crate::dtype::FloatType;
use crate::error::{Result, err};
use crate::quant::QuantSpec;

/// What becomes of the experts of a mixture: linear layers, one per expert, or fused into tensors of
/// three dimensions, which no version of transformers converts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Experts {
    /// As the profile's version does: 4.x converts them, 5.x (and `portable`) does not.
    #[default]
    Auto,
    /// Keep them.
    SixteenBit,
    /// Convert them: transformers 4, vLLM and SGLang read the result, transformers 5 does not.
    FourBit,
    /// The same, and fused ones as one weight of three dimensions each: this library alone reads the
    /// result ([`crate::Weight::expert`]). Fused experts whose matrices are not whole blocks stay.
    FusedFourBit,
}

impl Experts {
    /// Reads `auto`, `16bit`, `4bit` or `fused4bit`.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "auto" => Ok(Experts::Auto),
            "16bit" => Ok(Experts::SixteenBit),
            "4bit" => Ok(Experts::FourBit),
            "fused4bit" => Ok(Experts::FusedFourBit),
            other => {
                Err(err!(InvalidArgument, "experts \"{other}\": expected auto, 16bit, 4bit or fused4bit"))
            }
        }
    }

    /// Whether linear layers of single experts are converted whatever the version does.
    pub(super) fn converts_each(self) -> bool {
        matches!(self, Experts::FourBit | Experts::FusedFourBit)
    }
}

/// Options of a plan. The default is a portable plan of NF4, everything automatic.
#[derive(Clone, Debug, Default)]
pub struct PlanOptions {
    /// Whose rules.
    pub profile: Profile,
    /// `None`: the automatic list.
    ///
    /// With `v4`, `v4.41` and `v5` this is `llm_int8_skip_modules`: it takes the place of the automatic
    /// list (a list without `lm_head` has the head quantized), is matched as that version matches, and
    /// is written to the output as it is.
    ///
    /// With `portable` it is added to the automatic list. An entry is a run of whole components of a
    /// module path, anywhere in it: `lm_head`, `mlp`, `self_attn.q_proj`, `model.layers.0`; within a
    /// component `*` stands for any characters (`model.layers.*.mlp`, `*_proj`). The output lists the
    /// full paths.
    pub skip: Option<Vec<String>>,
    /// If not empty, only modules that an entry names are converted; entries as in `portable`'s `skip`.
    pub include: Vec<String>,
    /// The type to which float tensors are cast before anything else. `None`: the config's, else that
    /// of the first float tensor.
    pub dtype: Option<FloatType>,
    /// What becomes of experts.
    pub experts: Experts,
    /// What weights are quantized with: decides sizes, and which fused experts are whole blocks.
    pub spec: QuantSpec,
    /// Where everything goes. `None`: not decided here.
    pub device_map: Option<DeviceMapOptions>,
}
