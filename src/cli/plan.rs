//! `fourbit plan`: what `quantize` would do, and why.

use fourbit::Result;
use fourbit::checkpoint::Checkpoint;
use fourbit::device_map::{DeviceMapOptions, Strategy};
use fourbit::plan::{Action, Plan, PlanOptions};

use super::args::{PlanArgs, RecipeArgs};
use super::device_map::{self, Maps};
use super::{Answer, print, table};

pub(crate) fn run(args: &PlanArgs) -> Result<Answer> {
    let checkpoint = Checkpoint::open(&args.model_dir)?;
    let device_map = device_map::options(&args.devices)?;
    // A computed map that offloads is shown before it is refused.
    let shown = device_map.clone().map(|asked| DeviceMapOptions {
        offload: asked.offload || !matches!(asked.strategy, Strategy::Explicit(_)),
        ..asked
    });
    let options = PlanOptions { device_map: shown, ..options(&args.recipe) };
    let plan = checkpoint.plan(&options)?;
    let maps = device_map.as_ref().map(|asked| Maps::new(&checkpoint, &plan, &options.spec, asked));
    let maps = maps.transpose()?;
    match (args.run.json, &maps) {
        _ if args.run.quiet => {}
        (true, None) => print(&plan.to_json()),
        (true, Some(maps)) => {
            let mut value = plan.to_value();
            value["device_map"] = maps.to_value();
            print(&serde_json::to_string_pretty(&value).unwrap_or_default());
        }
        (false, None) => print(&text(&plan)),
        (false, Some(maps)) => print(&format!("{}\n\n{}", text(&plan), maps.text())),
    }
    maps.map_or(Ok(()), |maps| maps.verdict).map(|()| Answer::Yes)
}

/// The plan that a recipe asks for.
pub(crate) fn options(recipe: &RecipeArgs) -> PlanOptions {
    PlanOptions {
        profile: recipe.profile,
        skip: (!recipe.skip.is_empty()).then(|| recipe.skip.clone()),
        dtype: recipe.dtype,
        experts: recipe.experts,
        spec: recipe.spec(),
        ..PlanOptions::default()
    }
}

/// Every tensor with its reason, then the totals.
pub(crate) fn text(plan: &Plan) -> String {
    let mut listing =
        table::new(&["tensor", "shape", "becomes", "before", "after", "why"], &["before", "after"]);
    for entry in &plan.entries {
        let becomes = match entry.action {
            Action::Quantize { transpose: false, .. } => "4-bit".to_owned(),
            Action::Quantize { .. } => "4-bit, transposed".to_owned(),
            Action::Keep { dtype } => dtype.safetensors_name().to_owned(),
        };
        listing.add_row([
            entry.source.name.clone(),
            table::shape(entry.source.shape.dims()),
            becomes,
            entry.bytes_before.to_string(),
            entry.bytes_after.to_string(),
            entry.reason.clone(),
        ]);
    }
    format!("{listing}\n{}", summary(plan))
}

/// The lines below the table.
pub(crate) fn summary(plan: &Plan) -> String {
    let totals = plan.totals();
    let mut text = format!(
        "model type {} (known from {}), profile {}\n{} tensors converted, {} kept; {} -> {} ({:.1} %)",
        plan.model_type.as_deref().unwrap_or("not given"),
        match plan.mode {
            fourbit::plan::Mode::Table => "the table of architectures",
            fourbit::plan::Mode::Generic => "names and shapes: not in the table of architectures",
        },
        plan.profile.name(),
        totals.converted,
        totals.kept,
        table::bytes(totals.bytes_before),
        table::bytes(totals.bytes_after),
        100.0 * totals.bytes_after as f64 / (totals.bytes_before as f64).max(1.0),
    );
    if let Some(skip) = &plan.skip_modules {
        text += &format!("\nllm_int8_skip_modules: {}", skip.join(", "));
    }
    for note in &plan.notes {
        text += &format!("\nnote: {note}");
    }
    text
}
