//! What the command takes.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use fourbit::checkpoint::{JobMode, Part, parse_size};
use fourbit::codebook::{QuantType, Rule};
use fourbit::device_map::MaxMemory;
use fourbit::dtype::FloatType;
use fourbit::plan::Profile;
use fourbit::quant::{BlockSize, QuantSpec, Storage};

/// 4-bit weights (NF4, FP4) as transformers and bitsandbytes write and read them, without Python.
#[derive(Debug, Parser)]
#[command(name = "fourbit", version, arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Quantize a checkpoint to 4 bits.
    Quantize(QuantizeArgs),
    /// Complete a checkpoint whose parts `quantize --part` has written.
    Merge(MergeArgs),
    /// Show what `quantize` would do with every tensor, and why.
    Plan(PlanArgs),
    /// List the tensors and 4-bit weights of a checkpoint.
    Inspect(InspectArgs),
    /// Compare a quantized checkpoint with its source, tensor by tensor. Exit code 1: a tensor is
    /// missing or not what the plan says.
    Verify(VerifyArgs),
    /// Write one HTML page about a quantized checkpoint and its source: sizes, errors, distributions,
    /// devices. Exit code 1: they do not belong together.
    Report(ReportArgs),
    /// Turn a quantized checkpoint back into 16 or 32 bits.
    Dequantize(DequantizeArgs),
    /// Measure this machine and every operation on it: half a minute.
    Bench(super::bench::BenchArgs),
}

/// Options that decide the plan and the bytes.
#[derive(Debug, Args)]
pub(crate) struct RecipeArgs {
    /// 4-bit data type: nf4 or fp4.
    #[arg(long, value_name = "TYPE", default_value = "nf4", value_parser = text(QuantType::parse))]
    pub quant_type: QuantType,
    /// Elements that share one absmax: 32, 64, 128, …, 4096.
    #[arg(long, value_name = "N", default_value = "64", value_parser = block_size)]
    pub block_size: BlockSize,
    /// Quantize the absmax values to 8 bits (the default).
    #[arg(long, overrides_with = "no_double_quant")]
    pub double_quant: bool,
    /// Store absmax values as float32.
    #[arg(long)]
    pub no_double_quant: bool,
    /// What layers multiply in (bnb_4bit_compute_dtype): bfloat16, float16 or float32.
    #[arg(long, value_name = "TYPE", default_value = "bfloat16", value_parser = text(FloatType::parse))]
    pub compute_dtype: FloatType,
    /// Label of the packed bytes: uint8 (which every reader takes), bfloat16, float16 or float32.
    #[arg(long, value_name = "TYPE", default_value = "uint8", value_parser = text(Storage::parse))]
    pub quant_storage: Storage,
    /// Cast float tensors to this type first [default: what config.json says].
    #[arg(long, value_name = "TYPE", value_parser = text(FloatType::parse))]
    pub dtype: Option<FloatType>,
    /// A module to keep in 16 bits; may be given several times. With `--profile v4` or `v5` this
    /// replaces the automatic list, as in transformers.
    #[arg(long, value_name = "NAME")]
    pub skip: Vec<String>,
    /// Whose rules decide what is converted: portable (loads everywhere), v5 or v4 (transformers).
    #[arg(long, value_name = "NAME", default_value = "portable", value_parser = text(Profile::parse))]
    pub profile: Profile,
    /// Experts of a mixture: auto (as the profile says), 16bit, 4bit, or fused4bit, which converts fused
    /// ones too, for this library alone.
    #[arg(long, value_name = "WHAT", default_value = "auto", value_parser = text(fourbit::plan::Experts::parse))]
    pub experts: fourbit::plan::Experts,
    /// Whose decisions on ties and special values: bnb-cpu or bnb-cuda.
    #[arg(long, value_name = "RULE", default_value = "bnb-cpu", value_parser = text(Rule::parse))]
    pub rule: Rule,
}

impl RecipeArgs {
    pub(crate) fn spec(&self) -> QuantSpec {
        QuantSpec {
            quant_type: self.quant_type,
            block_size: self.block_size,
            double_quant: !self.no_double_quant,
            rule: self.rule,
            storage: self.quant_storage,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct QuantizeArgs {
    /// The checkpoint: a directory with config.json and safetensors files.
    pub model_dir: PathBuf,
    /// Where to write; must be new or empty unless --force is given.
    pub out_dir: PathBuf,
    #[command(flatten)]
    pub recipe: RecipeArgs,
    #[command(flatten)]
    pub save: SaveArgs,
    #[command(flatten)]
    pub job: JobArgs,
    #[command(flatten)]
    pub run: RunArgs,
}

/// How much to do at once.
#[derive(Debug, Args)]
pub(crate) struct JobArgs {
    /// Continue a run that was interrupted; its finished files stay. Without one, start.
    #[arg(long, conflicts_with = "force")]
    pub resume: bool,
    /// Write only part I of N (from 1) of the output files. Parts may run anywhere and be repeated;
    /// `fourbit merge` completes the checkpoint.
    #[arg(long, value_name = "I/N", value_parser = text(Part::parse), conflicts_with = "force")]
    pub part: Option<Part>,
    /// Only read the source through, once for all parts that use this output directory.
    #[arg(long, conflicts_with_all = ["part", "resume", "force"])]
    pub prepare: bool,
    /// Most working memory: bytes, or KB, MB, GB, TB [default: what keeps all threads busy].
    #[arg(long, value_name = "SIZE", value_parser = text(parse_size))]
    pub memory: Option<u64>,
}

impl JobArgs {
    pub(crate) fn mode(&self) -> JobMode {
        match self.part {
            Some(part) => JobMode::Part(part),
            None if self.prepare => JobMode::Prepare,
            None if self.resume => JobMode::Resume,
            None => JobMode::Resumable,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// Where the parts were written, or copied together.
    pub out_dir: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
    /// Print nothing but errors.
    #[arg(long)]
    pub quiet: bool,
}

/// How to write.
#[derive(Debug, Args)]
pub(crate) struct SaveArgs {
    /// Largest file: bytes, or KB, MB, GB, TB (powers of ten).
    #[arg(long, value_name = "SIZE", default_value = "5GB", value_parser = text(parse_size))]
    pub max_shard_size: u64,
    /// Replace a checkpoint that stands in the output directory, once the new one is complete.
    #[arg(long)]
    pub force: bool,
}

/// How to run.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The device: cpu.
    #[arg(long, value_name = "DEVICE", default_value = "cpu", value_parser = device)]
    pub device: fourbit::device::Device,
    /// Threads to use [default: one per processor].
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub threads: usize,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
    /// Print nothing but errors.
    #[arg(long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// The checkpoint.
    pub model_dir: PathBuf,
    #[command(flatten)]
    pub recipe: RecipeArgs,
    #[command(flatten)]
    pub devices: DeviceMapArgs,
    /// List every tensor by itself, with bytes in full, instead of folding layers that are alike.
    #[arg(long)]
    pub full: bool,
    /// Explain what is decided about one tensor or module, step by step: its name, the end of it, or a
    /// pattern with `*`.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["full", "diff"])]
    pub why: Option<String>,
    /// Show where two profiles decide differently. Exit code 1: somewhere.
    #[arg(long, num_args = 2, value_names = ["PROFILE", "PROFILE"], value_parser = text(Profile::parse), conflicts_with_all = ["full", "profile"])]
    pub diff: Vec<Profile>,
    /// So that the arguments of `quantize` can be given as they are; they decide nothing here.
    #[command(flatten)]
    pub _save: SaveArgs,
    #[command(flatten)]
    pub run: RunArgs,
}

/// Where everything would go.
#[derive(Debug, Args)]
pub(crate) struct DeviceMapArgs {
    /// Also share the modules out among devices: auto (or balanced), balanced_low_0, sequential, fit, a
    /// device (0, cpu) for everything, or a .json file with a map.
    #[arg(long, value_name = "HOW")]
    pub device_map: Option<String>,
    /// Memory of each device, such as 0=20GiB,1=20GiB,cpu=64GiB; nine tenths of it are used [default: the
    /// free memory of this machine, as cpu].
    #[arg(long, value_name = "LIST", requires = "device_map", value_parser = text(MaxMemory::parse))]
    pub max_memory: Option<MaxMemory>,
    /// Allow modules on cpu and disk (llm_int8_enable_fp32_cpu_offload).
    #[arg(long, requires = "device_map")]
    pub offload: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// A checkpoint directory, an index, or a .safetensors file.
    pub path: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The source checkpoint.
    pub model_dir: PathBuf,
    /// What `quantize` made of it.
    pub quantized_dir: PathBuf,
    /// Threads to use [default: one per processor].
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub threads: usize,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// The source checkpoint.
    pub model_dir: PathBuf,
    /// What was made of it, here or by transformers.
    pub quantized_dir: PathBuf,
    /// The page to write.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Replace the page if it exists.
    #[arg(long)]
    pub force: bool,
    /// Also draw a device map: as in `plan`.
    #[arg(long, value_name = "HOW")]
    pub device_map: Option<String>,
    /// Memory of each device, as in `plan`; without --device-map that is `auto`.
    #[arg(long, value_name = "LIST", value_parser = text(MaxMemory::parse))]
    pub max_memory: Option<MaxMemory>,
    /// Allow modules on cpu and disk (llm_int8_enable_fp32_cpu_offload).
    #[arg(long)]
    pub offload: bool,
    /// Threads to use [default: one per processor].
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub threads: usize,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
    /// Print nothing but errors.
    #[arg(long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DequantizeArgs {
    /// The quantized checkpoint.
    pub quantized_dir: PathBuf,
    /// Where to write; must be new or empty unless --force is given.
    pub out_dir: PathBuf,
    /// Element type to write [default: each weight's own original type].
    #[arg(long, value_name = "TYPE", value_parser = text(FloatType::parse))]
    pub dtype: Option<FloatType>,
    #[command(flatten)]
    pub save: SaveArgs,
    #[command(flatten)]
    pub run: RunArgs,
}

/// Makes one of the library's `parse` functions a parser of arguments.
fn text<T>(parse: fn(&str) -> fourbit::Result<T>) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |value| parse(value).map_err(|e| e.to_string())
}

fn block_size(value: &str) -> Result<BlockSize, String> {
    let number: u64 = value.parse().map_err(|_| format!("\"{value}\" is not a number"))?;
    BlockSize::new(number).map_err(|e| e.to_string())
}

fn device(value: &str) -> Result<fourbit::device::Device, String> {
    match value {
        "cpu" => Ok(fourbit::device::Device::CPU),
        other => Err(format!("device \"{other}\": this build has no other device than cpu")),
    }
}
