//! What a report says, before it is laid out: plain data.

use fourbit::codebook::QuantType;
use fourbit::device_map::MapDevice;
use fourbit::quant::QuantError;

use super::histogram::Histogram;

/// Everything on the page.
#[derive(Debug)]
pub(crate) struct Facts {
    /// Names of the two directories.
    pub names: [String; 2],
    /// Model type, class, profile, versions: name and value.
    pub provenance: Vec<(String, String)>,
    /// `quantization_config`: key and value.
    pub config: Vec<(String, String)>,
    /// `llm_int8_skip_modules`, folded; `None` where it is null.
    pub skip_modules: Option<Vec<String>>,
    /// Sizes by what the bytes are.
    pub sizes: Vec<Size>,
    /// Every 4-bit weight.
    pub weights: Vec<WeightFacts>,
    /// Plain tensors that hold the source's values.
    pub kept: usize,
    /// Codes and absmax values, by data type and block size.
    pub distributions: Vec<Distribution>,
    /// What is not as it should be.
    pub findings: Vec<Finding>,
    /// Device maps, the asked-for one first.
    pub maps: Vec<MapFacts>,
    /// Why the asked-for map cannot be loaded.
    pub map_refused: Option<String>,
}

/// A share of both checkpoints.
#[derive(Clone, Debug, Default)]
pub(crate) struct Size {
    /// What the bytes are.
    pub label: &'static str,
    /// Class of its colour.
    pub class: &'static str,
    /// Tensors of the source that it counts.
    pub tensors: u64,
    /// Bytes in the source.
    pub before: u64,
    /// Bytes in the quantized checkpoint.
    pub after: u64,
}

/// A 4-bit weight.
#[derive(Clone, Debug)]
pub(crate) struct WeightFacts {
    /// Its name.
    pub name: String,
    /// `[out, in]`.
    pub shape: Vec<u64>,
    /// How far it is from the source.
    pub error: QuantError,
}

/// Codes and absmax values of all weights of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Distribution {
    /// NF4 or FP4.
    pub quant_type: QuantType,
    /// Elements per absmax.
    pub block_size: usize,
    /// Weights counted.
    pub weights: u64,
    /// Elements of each code.
    pub codes: [u64; 16],
    /// Absmax values.
    pub absmax: Histogram,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The tensor.
    pub tensor: String,
    /// What is wrong, in words.
    pub words: String,
}

/// A device map.
#[derive(Clone, Debug)]
pub(crate) struct MapFacts {
    /// Whose.
    pub heading: String,
    /// The devices.
    pub devices: Vec<DeviceFacts>,
    /// Blocks and other modules in the order of the model: name, device, bytes.
    pub units: Vec<(String, MapDevice, u64)>,
}

/// A device of a map.
#[derive(Clone, Debug)]
pub(crate) struct DeviceFacts {
    /// Which.
    pub device: MapDevice,
    /// What lies on it.
    pub bytes: u64,
    /// What may.
    pub limit: Option<u64>,
    /// Its modules, neighbours as one.
    pub modules: Vec<String>,
}

/// Errors of several weights together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ErrorSum {
    /// Weights.
    pub weights: u64,
    /// Elements.
    pub count: u64,
    /// Sum of squared differences.
    pub noise: f64,
    /// Sum of squared source elements, of weights that are not exact.
    pub signal: f64,
    /// Largest difference.
    pub max: f64,
}

impl ErrorSum {
    /// Adds a weight.
    pub fn add(&mut self, error: &QuantError) {
        let noise = error.rms * error.rms * error.count as f64;
        self.weights += 1;
        self.count += error.count;
        self.noise += noise;
        if error.snr_db.is_finite() {
            self.signal += noise * 10f64.powf(error.snr_db / 10.0);
        }
        self.max = self.max.max(error.max);
    }

    /// All of these weights together.
    pub fn of<'a>(weights: impl IntoIterator<Item = &'a WeightFacts>) -> Self {
        let mut sum = ErrorSum::default();
        weights.into_iter().for_each(|weight| sum.add(&weight.error));
        sum
    }

    /// Signal-to-noise ratio in decibels; infinite if there is no noise.
    pub fn snr_db(&self) -> f64 {
        if self.noise == 0.0 { f64::INFINITY } else { 10.0 * (self.signal / self.noise).log10() }
    }

    /// Root of the mean squared difference.
    pub fn rms(&self) -> f64 {
        (self.noise / (self.count as f64).max(1.0)).sqrt()
    }
}
