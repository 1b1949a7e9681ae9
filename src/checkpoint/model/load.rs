//! Loading: the plan against the checkpoint, devices and memory checked first, then everything that
//! is not in the file as it is wanted made in parallel.

use std::sync::Arc;

use super::super::entries::Entry;
use super::super::header::quoted;
use super::super::quantize::match_plan;
use super::super::reader::Checkpoint;
use super::super::{Progress, ProgressFn};
use super::making::{Work, make};
use super::{Content, Model, ModelEntry, Recipe};
use crate::context::Context;
use crate::device_map::MapDevice;
use crate::dtype::DType;
use crate::error::{Result, err};
use crate::plan::{Action, Plan, PlanEntry};
use crate::quant::{Geometry, QuantSpec};
use crate::shape::Shape;
use crate::weight::Weight;

/// How to load.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Bytes that weights and casts may take; what is mapped does not count, nor do a few megabytes
    /// of work per thread. `None`: no limit.
    pub max_memory: Option<u64>,
}

impl Model {
    /// Loads what `plan` makes of `checkpoint`: `spec` is what weights are quantized with. The plan must
    /// name every stored tensor exactly as it is stored. Parts of weights that are quantized already
    /// must be kept as they are ([`Checkpoint::plan_as_stored`]).
    ///
    /// Whatever is planned on the CPU, or without a device map, is loaded; what is planned on the disk
    /// is left there. Other devices are an error, and nothing is read then. Progress counts the source
    /// bytes of what is quantized or cast.
    pub fn load(
        context: &Context,
        spec: &QuantSpec,
        checkpoint: &Arc<Checkpoint>,
        plan: &Plan,
        options: &LoadOptions,
        progress: &mut ProgressFn<'_>,
    ) -> Result<Model> {
        let planned = match_plan(checkpoint, plan)?;
        let entries = checkpoint.entries().iter().map(|entry| Wanted::new(checkpoint, entry, &planned));
        let entries = entries.collect::<Result<Vec<Wanted>>>()?;
        entries.iter().try_for_each(Wanted::check_device)?;
        check_memory(&entries, spec, checkpoint, options)?;
        let recipes = entries.iter().filter_map(Wanted::recipe_in_memory);
        let works =
            recipes.map(|recipe| Work::new(checkpoint, recipe, spec)).collect::<Result<Vec<Work<'_>>>>()?;
        let mut now = |p: &Progress<'_>| progress(p);
        let mut made = make(context, spec, &works, &mut now)?.into_iter();
        let entries = entries.into_iter().map(|wanted| wanted.finish(checkpoint, spec, &mut made));
        let entries = entries.collect::<Result<Vec<ModelEntry>>>()?;
        checkpoint.check_unchanged()?;
        Ok(Model { checkpoint: Arc::clone(checkpoint), context: context.clone(), spec: *spec, entries })
    }
}

/// An entry of the checkpoint that has met its plan.
struct Wanted {
    name: String,
    device: Option<MapDevice>,
    what: What,
}

enum What {
    Stored(Box<Weight>),
    Mapped(usize),
    Made(Recipe),
}

impl Wanted {
    fn new(checkpoint: &Checkpoint, entry: &Entry, planned: &[&PlanEntry]) -> Result<Wanted> {
        let name = checkpoint.entry_name(entry).to_owned();
        let (device, what) = match entry {
            Entry::Weight(weight) => {
                for &(_, index) in &weight.parts {
                    check_part(planned[index], &name)?;
                }
                (planned[weight.parts[0].1].device, What::Stored(Box::new(checkpoint.weight(&name)?)))
            }
            Entry::Tensor(index) => {
                let index = *index;
                let stored = checkpoint.tensors()[index].dtype;
                let what = match planned[index].action {
                    Action::Quantize { dtype, transpose } => {
                        What::Made(Recipe::Quantize { index, dtype, transpose })
                    }
                    Action::Keep { dtype } if dtype == stored => What::Mapped(index),
                    Action::Keep { dtype } => match dtype.float() {
                        Some(dtype) => What::Made(Recipe::Cast { index, dtype }),
                        None => return Err(cannot_cast(&name, stored, dtype)),
                    },
                };
                (planned[index].device, what)
            }
        };
        Ok(Wanted { name, device, what })
    }

    fn check_device(&self) -> Result<()> {
        match self.device {
            None | Some(MapDevice::Cpu | MapDevice::Disk) => Ok(()),
            Some(other) => Err(err!(
                DeviceUnavailable,
                "tensor {}: planned on device {other}: this library loads on the CPU only, so plan it on \"cpu\" \
                 or \"disk\", or without a device map",
                quoted(&self.name)
            )),
        }
    }

    fn recipe_in_memory(&self) -> Option<Recipe> {
        match self.what {
            What::Made(recipe) if self.device != Some(MapDevice::Disk) => Some(recipe),
            _ => None,
        }
    }

    /// The entry; what had to be made comes next in `made`.
    fn finish(
        self,
        checkpoint: &Checkpoint,
        spec: &QuantSpec,
        made: &mut impl Iterator<Item = Content>,
    ) -> Result<ModelEntry> {
        let in_memory = self.recipe_in_memory().is_some();
        let (shape, dtype, byte_size) = self.describe(checkpoint, spec)?;
        let content = match self.what {
            What::Stored(weight) => Content::Weight(weight),
            What::Mapped(index) => {
                // So that asking for it later cannot fail.
                checkpoint.mapping(index)?;
                Content::Mapped(index)
            }
            What::Made(recipe) if !in_memory => Content::OnDisk(recipe),
            What::Made(_) => made
                .next()
                .ok_or_else(|| err!(InvalidState, "tensor {}: was not made", quoted(&self.name)))?,
        };
        Ok(ModelEntry { name: self.name, shape, dtype, device: self.device, byte_size, content })
    }

    fn describe(&self, checkpoint: &Checkpoint, spec: &QuantSpec) -> Result<(Shape, DType, u64)> {
        let stored = |index: usize| &checkpoint.tensors()[index];
        Ok(match &self.what {
            What::Stored(weight) => {
                let state = weight.parts().last().map_or(0, |state| state.bytes.len() as u64);
                (weight.shape(), weight.dtype().into(), weight.byte_size() - state)
            }
            What::Mapped(index) => {
                let tensor = stored(*index);
                (tensor.shape, tensor.dtype, tensor.byte_len())
            }
            What::Made(recipe @ Recipe::Cast { index, dtype }) => {
                (stored(*index).shape, (*dtype).into(), recipe.bytes(checkpoint, spec))
            }
            What::Made(recipe @ Recipe::Quantize { index, dtype, transpose }) => {
                let shape = match (transpose, stored(*index).shape.matrix()) {
                    (true, Some((rows, columns))) => Shape::new(&[columns, rows])?,
                    _ => stored(*index).shape,
                };
                (shape, (*dtype).into(), recipe.bytes(checkpoint, spec))
            }
        })
    }
}

impl Recipe {
    /// Bytes of the result, a quant state's text not counted.
    fn bytes(self, checkpoint: &Checkpoint, spec: &QuantSpec) -> u64 {
        let numel = |index: usize| checkpoint.tensors()[index].shape.numel();
        match self {
            Recipe::Cast { index, dtype } => numel(index).saturating_mul(dtype.size() as u64),
            Recipe::Quantize { index, .. } => {
                let geometry = Geometry { numel: numel(index), block_size: spec.block_size };
                geometry.part_bytes(spec.double_quant)
            }
        }
    }
}

/// A weight that is quantized already is taken as it is.
fn check_part(part: &PlanEntry, weight: &str) -> Result<()> {
    if part.action == (Action::Keep { dtype: part.source.dtype }) {
        return Ok(());
    }
    Err(err!(
        InvalidArgument,
        "tensor {}: is part of {}, a weight that is quantized already: the plan must keep it as it is",
        quoted(&part.source.name),
        quoted(weight)
    ))
}

fn cannot_cast(name: &str, stored: DType, wanted: DType) -> crate::Error {
    err!(
        DtypeUnsupported,
        "tensor {}: cannot be loaded as {}: expected its own {} or a float type",
        quoted(name),
        wanted.safetensors_name(),
        stored.safetensors_name()
    )
}

fn check_memory(
    entries: &[Wanted],
    spec: &QuantSpec,
    checkpoint: &Checkpoint,
    options: &LoadOptions,
) -> Result<()> {
    let Some(limit) = options.max_memory else { return Ok(()) };
    let recipes = entries.iter().filter_map(Wanted::recipe_in_memory);
    let needed = recipes.fold(0u64, |sum, recipe| sum.saturating_add(recipe.bytes(checkpoint, spec)));
    if needed <= limit {
        return Ok(());
    }
    Err(err!(
        OutOfMemory,
        "the planned model takes {needed} bytes beside what is mapped, max_memory is {limit}: plan more of it on \
         the disk"
    ))
}
