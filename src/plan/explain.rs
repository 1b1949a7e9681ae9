//! Why a tensor is decided as it is, step by step: each version's own verdict with the source of it,
//! what was decided on top, and where its dtype comes from.

use serde_json::Value;

use super::architecture::Architecture;
use super::decide::{Rules, Verdict, Version};
use super::devices;
use super::draft::Draft;
use super::generic::is_expert;
use super::names::{leaf, module_of, normalize, parent};
use super::options::PlanOptions;
use super::reason::{Converted, Kept};
use super::stored::Casts;
use super::types::{Plan, Profile, SourceTensor};
use crate::config;
use crate::dtype::FloatType;
use crate::error::{Result, err};

/// What one version of transformers does with a tensor by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opinion {
    /// Which one, in words.
    pub version: &'static str,
    /// Whether the plan's profile asks it.
    pub is_asked: bool,
    /// Whether it converts the tensor.
    pub is_converted: bool,
    /// Why.
    pub reason: String,
    /// What that rests on: a row of the table of architectures, a key of the config, a given pattern, the
    /// name or the shape.
    pub source: String,
}

/// How the decision about one tensor came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// How the architecture was known.
    pub architecture: String,
    /// Every path that some reader has for the tensor's module, the file's own first.
    pub paths: Vec<String>,
    /// transformers 5.23, 4.57 and 4.41.
    pub opinions: Vec<Opinion>,
    /// What was decided on top of the versions, and on what grounds, where that is what decided.
    pub on_top: Option<(String, String)>,
    /// The float type that the tensor is cast to, and where that comes from; `None`: it is not cast.
    pub dtype: Option<(FloatType, String)>,
}

impl Plan {
    /// Explains what a plan of these tensors decides about tensor `index`.
    pub fn explain(
        config: &Value,
        tensors: &[SourceTensor],
        options: &PlanOptions,
        index: usize,
    ) -> Result<Explanation> {
        let count = tensors.len();
        let tensor = tensors
            .get(index)
            .ok_or_else(|| err!(NotFound, "tensor index {index}: the plan has {count} tensors"))?;
        let architecture = Architecture::new(config, tensors)?;
        let asked = options.profile.versions(&architecture);
        let given = if options.profile == Profile::Portable { None } else { options.skip.as_deref() };
        let offloaded = devices::offloaded(options)?;
        let mut opinions = Vec::new();
        for version in [Version::V523, Version::V457, Version::V441] {
            let verdict =
                Rules::new(version, &architecture, given, &offloaded, options.experts)?.verdict(tensor);
            opinions.push(Opinion {
                version: version.name(),
                is_asked: asked.contains(&version),
                is_converted: verdict.is_ok(),
                source: Grounds { config, architecture: &architecture, tensor, options }
                    .of(&verdict, Some(version)),
                reason: words(&verdict),
            });
        }
        let (verdicts, _) = Draft::new(&architecture, tensors, options)?.finish()?;
        let verdict = &verdicts[index];
        let by_a_version = opinions.iter().any(|o| o.is_asked && o.reason == words(verdict));
        let grounds = Grounds { config, architecture: &architecture, tensor, options };
        Ok(Explanation {
            architecture: known(&architecture, tensor),
            paths: architecture.reader_paths(module_of(&tensor.name)),
            on_top: (!by_a_version).then(|| (words(verdict), grounds.of(verdict, None))),
            dtype: cast(config, &architecture, tensors, tensor, options, verdict.is_ok())?,
            opinions,
        })
    }
}

fn words(verdict: &Verdict) -> String {
    match verdict {
        Ok(converted) => converted.to_string(),
        Err(kept) => kept.to_string(),
    }
}

fn known(architecture: &Architecture, tensor: &SourceTensor) -> String {
    let name = architecture.model_type.unwrap_or("(none)");
    let Some(row) = &architecture.row else {
        return format!(
            "model_type {name} has no row in the table of architectures: names, shapes and config decide"
        );
    };
    let path = normalize(&architecture.table_path(module_of(&tensor.name)));
    format!("row \"{name}\" of the table of architectures ({}), where this module is {path}", row.arch)
}

/// The type a tensor is cast to and why.
fn cast(
    config: &Value,
    architecture: &Architecture,
    tensors: &[SourceTensor],
    tensor: &SourceTensor,
    options: &PlanOptions,
    converted: bool,
) -> Result<Option<(FloatType, String)>> {
    if !tensor.dtype.is_castable() {
        return Ok(None);
    }
    let first = || tensors.iter().find_map(|t| t.dtype.float());
    let (load, source) = match (options.dtype, config::stated_dtype(config)?) {
        (Some(dtype), _) => (dtype, "the dtype asked for"),
        (None, Some(dtype)) => (dtype, "the dtype in config.json"),
        (None, None) => {
            (first().unwrap_or(FloatType::F32), "the first float tensor: config.json states none")
        }
    };
    let casts = Casts::new(architecture, options.profile.casts_like(), load)?;
    let dtype = casts.of(architecture, &tensor.name, converted);
    let source = if dtype == load {
        format!("load dtype: {source}")
    } else {
        format!(
            "{} holds it in float32 when it loads in {}",
            options.profile.casts_like().name(),
            load.torch_name()
        )
    };
    Ok(Some((dtype, source)))
}

/// What a verdict rests on.
struct Grounds<'a> {
    config: &'a Value,
    architecture: &'a Architecture<'a>,
    tensor: &'a SourceTensor,
    options: &'a PlanOptions,
}

impl Grounds<'_> {
    /// In words. `version` gave the verdict; `None`: it was given on top of them.
    fn of(&self, verdict: &Verdict, version: Option<Version>) -> String {
        let name = self.tensor.name.as_str();
        match verdict {
            Ok(converted) => self.of_converted(*converted),
            Err(Kept::NotMatrix(_) | Kept::FusedExperts) => {
                format!("shape {} in the file", self.tensor.shape)
            }
            Err(Kept::Dtype(_)) => "dtype in the file".to_owned(),
            Err(Kept::NotWeight) => format!("the name: {} is not called .weight", leaf(name)),
            Err(Kept::Embedding | Kept::NotLinear(_)) => self.of_non_linear(version),
            Err(Kept::Router) if version.is_none() => {
                "the name of the module, whatever the versions do".to_owned()
            }
            Err(Kept::Router) => self.of_non_linear(version),
            Err(Kept::Head(_) | Kept::Last(_)) => self.of_head(),
            Err(Kept::Tied(_)) => self.of_tie(),
            Err(Kept::Fp32(entry)) => match &self.architecture.row {
                Some(_) => format!("the row's _keep_in_fp32_modules has \"{entry}\", which joins every list"),
                None => "the name, which architectures that do so use".to_owned(),
            },
            Err(Kept::Expert) if version.is_none() => {
                "profile portable: transformers 5 must read the result".to_owned()
            }
            Err(Kept::Expert) => match self.architecture.row {
                Some(_) => self.of_non_linear(version),
                None => "the name: it lies under .experts.N.".to_owned(),
            },
            Err(Kept::ExpertAsked) => "the option for experts".to_owned(),
            Err(Kept::Norm) => format!("the name: {}", leaf(module_of(name))),
            Err(Kept::Mamba) => {
                format!("A_log and D lie beside it in {}", parent(module_of(name)))
            }
            Err(Kept::AttentionOut) => "in_proj_weight lies beside it".to_owned(),
            Err(Kept::Skip(entry)) => match version {
                Some(_) => {
                    format!("the given skip list, which takes the place of the automatic one: \"{entry}\"")
                }
                None => format!("the given skip list: \"{entry}\", as a run of components of the path"),
            },
            Err(Kept::Offloaded(entry)) => format!("the given device map, entry \"{entry}\""),
            Err(Kept::NotIncluded) => "the given list of modules to convert".to_owned(),
            Err(Kept::Fused(other)) => format!("vLLM has one layer for both, and {other} is kept"),
            Err(Kept::Shadowed { .. }) => {
                "the list that is written: its readers match in different ways".to_owned()
            }
            #[allow(unreachable_patterns)]
            Err(_) => "the plan's own rules".to_owned(),
        }
    }

    fn of_converted(&self, converted: Converted) -> String {
        let module = module_of(&self.tensor.name);
        if self.tensor.shape.matrix().is_none() {
            return "the option for experts, beyond what transformers does".to_owned();
        }
        match (&self.architecture.row, converted) {
            (Some(row), Converted::Conv1d) => {
                format!("the row's Conv1D modules: {}", row.conv1d.join(", "))
            }
            (Some(_), _) => {
                "the row has it as nothing but an nn.Linear, and no entry of its lists names it".to_owned()
            }
            (None, Converted::Conv1d) => format!("{} with biases as long as a row", leaf(module)),
            (None, _) if is_expert(module) => "the name: it lies under .experts.N.".to_owned(),
            (None, _) => "neither name nor shape say embedding, norm, head or router".to_owned(),
        }
    }

    fn of_non_linear(&self, version: Option<Version>) -> String {
        let module = module_of(&self.tensor.name);
        let path = normalize(&self.architecture.table_path(module));
        let row = match version {
            Some(Version::V441) => &self.architecture.row_441,
            _ => &self.architecture.row,
        };
        let listed = row.as_ref().is_some_and(|row| {
            row.non_v5().iter().chain(row.non_v4()).any(|n| *n == path || row.renamed(n).contains(&path))
        });
        if listed {
            return format!("the row lists {path} as no nn.Linear");
        }
        let rows = self.tensor.shape.dims().first().copied().unwrap_or(0);
        for key in ["vocab_size", "padded_vocab_size", "num_experts", "n_routed_experts", "num_local_experts"]
        {
            if config::find_integers(self.config, key).any(|n| n == rows) {
                return format!("the name ({}), and {key} {rows} in config.json", leaf(module));
            }
        }
        format!("the name: {}", leaf(module))
    }

    fn of_head(&self) -> String {
        let automatic = match self.options.skip {
            Some(_) if self.options.profile != Profile::Portable => "",
            _ => ": transformers' automatic list holds",
        };
        match &self.architecture.row {
            Some(_) if self.architecture.is_own_class() => format!("the row's output head{automatic}"),
            Some(row) => format!(
                "the name: the class {} is not the row's {}{automatic}",
                self.architecture.class.unwrap_or("(none)"),
                row.arch
            ),
            None => "the name, or as many rows as the vocabulary has entries".to_owned(),
        }
    }

    fn of_tie(&self) -> String {
        let stated = [Some(self.config), config::text_config(self.config)];
        let stated = stated.into_iter().flatten().find_map(|place| place.get("tie_word_embeddings"));
        let tied = match stated {
            Some(value) => format!("tie_word_embeddings {value} in config.json"),
            None => "tie_word_embeddings is the class's default".to_owned(),
        };
        format!("the row's tied names; {tied}")
    }
}
