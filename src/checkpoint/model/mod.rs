//! A checkpoint in memory, every tensor as its plan says: what an engine loads a model through.

mod load;
mod making;

use std::sync::Arc;

use super::header::quoted;
use super::reader::Checkpoint;
use crate::context::Context;
use crate::device_map::MapDevice;
use crate::dtype::{DType, FloatType};
use crate::error::{Error, Result, err};
use crate::memory::AlignedBytes;
use crate::quant::QuantSpec;
use crate::shape::Shape;
use crate::tensor::{TensorMut, TensorRef};
use crate::weight::Weight;

pub use load::LoadOptions;

/// A loaded model. Weights are in memory or, if they were quantized before, mapped; tensors are mapped
/// wherever the plan leaves their type alone. What the plan leaves on the disk is made anew for
/// whoever asks. Any number of threads may use one.
pub struct Model {
    checkpoint: Arc<Checkpoint>,
    context: Context,
    spec: QuantSpec,
    /// In the order of the checkpoint's entries.
    entries: Vec<ModelEntry>,
}

/// One tensor or weight of a model.
pub struct ModelEntry {
    /// The tensor's name.
    pub name: String,
    /// Of a weight what it was quantized from, `[out, in]` for a linear layer; else the tensor's own.
    pub shape: Shape,
    /// Of a weight the type it was quantized from; else the tensor's own.
    pub dtype: DType,
    /// Where the plan puts it, if it has a device map.
    pub device: Option<MapDevice>,
    /// Bytes of the tensor, or of the weight's codes and statistics (the text of its quant state not
    /// counted). An entry left on the disk takes none of memory until it is asked for.
    pub byte_size: u64,
    content: Content,
}

enum Content {
    Weight(Box<Weight>),
    /// In the planned type, which is not the stored one.
    Cast(AlignedBytes),
    /// In the planned type, in the file; the number of the tensor.
    Mapped(usize),
    /// On the disk: to be made each time.
    OnDisk(Recipe),
}

/// How an entry comes about that is not in the file as it is wanted.
#[derive(Clone, Copy)]
enum Recipe {
    Quantize { index: usize, dtype: FloatType, transpose: bool },
    Cast { index: usize, dtype: FloatType },
}

impl ModelEntry {
    /// Whether it is a 4-bit weight.
    pub fn is_weight(&self) -> bool {
        matches!(self.content, Content::Weight(_) | Content::OnDisk(Recipe::Quantize { .. }))
    }

    fn wrong_kind(&self, is: &str, instead: &str) -> Error {
        err!(InvalidArgument, "{} is {is}: ask for it as {instead}", quoted(&self.name))
    }
}

impl Model {
    /// Every tensor and weight, in natural order of their names.
    pub fn entries(&self) -> &[ModelEntry] {
        &self.entries
    }

    /// The position of an entry.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.checkpoint.find_entry(name)
    }

    fn entry(&self, name: &str) -> Result<&ModelEntry> {
        let index = self.find(name);
        index.map(|i| &self.entries[i]).ok_or_else(|| err!(NotFound, "no tensor named {}", quoted(name)))
    }

    /// A weight, which shares its bytes with the model and may outlive it. One that is planned on the
    /// disk is quantized here and now.
    pub fn weight(&self, name: &str) -> Result<Weight> {
        let entry = self.entry(name)?;
        match &entry.content {
            Content::Weight(weight) => Ok(Weight::clone(weight)),
            Content::OnDisk(recipe @ Recipe::Quantize { .. }) => match self.make(*recipe)? {
                Content::Weight(weight) => Ok(*weight),
                _ => Err(err!(InvalidState, "{}: no weight was made of it", quoted(name))),
            },
            _ => Err(entry.wrong_kind("a plain tensor", "a tensor")),
        }
    }

    /// A tensor in its planned type, in place. One that is planned on the disk in another type than the
    /// stored one has no place: [`Model::read`] it.
    pub fn tensor(&self, name: &str) -> Result<TensorRef<'_>> {
        let entry = self.entry(name)?;
        let bytes = match &entry.content {
            Content::Mapped(index) => self.checkpoint.bytes(*index)?,
            Content::Cast(bytes) => bytes.as_slice(),
            Content::OnDisk(Recipe::Cast { .. }) => {
                return Err(err!(
                    InvalidState,
                    "{} is planned on the disk as {}, which is not its stored type: nothing is kept that a \
                     view could show; read it into memory of your own",
                    quoted(name),
                    entry.dtype.safetensors_name()
                ));
            }
            _ => return Err(entry.wrong_kind("a 4-bit weight", "a weight")),
        };
        TensorRef::from_bytes(bytes, entry.dtype, entry.shape)
    }

    /// Copies a tensor, in its planned type, into memory of the caller's: of that type and shape, with
    /// any strides.
    pub fn read(&self, name: &str, destination: &mut TensorMut<'_>) -> Result<()> {
        let entry = self.entry(name)?;
        let raw = destination.raw();
        if raw.shape != entry.shape {
            return Err(err!(
                ShapeMismatch,
                "destination has shape {}, {} has {}",
                raw.shape,
                quoted(name),
                entry.shape
            ));
        }
        if raw.dtype != entry.dtype {
            return Err(err!(
                DtypeUnsupported,
                "destination has dtype {}, {} has {}",
                raw.dtype.safetensors_name(),
                quoted(name),
                entry.dtype.safetensors_name()
            ));
        }
        match &entry.content {
            Content::OnDisk(recipe @ Recipe::Cast { .. }) => match self.make(*recipe)? {
                Content::Cast(bytes) => destination.unpack_from(bytes.as_slice()),
                _ => return Err(err!(InvalidState, "{}: no tensor was made of it", quoted(name))),
            },
            Content::Mapped(index) => {
                let mut bytes = AlignedBytes::zeroed_u64(self.checkpoint.tensors()[*index].byte_len())?;
                self.checkpoint.read_at(*index, 0, bytes.as_mut_slice())?;
                destination.unpack_from(bytes.as_slice());
            }
            Content::Cast(bytes) => destination.unpack_from(bytes.as_slice()),
            _ => return Err(entry.wrong_kind("a 4-bit weight", "a weight")),
        }
        Ok(())
    }

    fn make(&self, recipe: Recipe) -> Result<Content> {
        let works = [making::Work::new(&self.checkpoint, recipe, &self.spec)?];
        let mut go_on = |_: &super::Progress<'_>| std::ops::ControlFlow::Continue(());
        let mut made = making::make(&self.context, &self.spec, &works, &mut go_on)?;
        made.pop().ok_or_else(|| err!(InvalidState, "nothing was made"))
    }
}
