//! `fourbit plan`: what `quantize` would do, and why.

use fourbit::Result;
use fourbit::checkpoint::Checkpoint;
use fourbit::device_map::{DeviceMapOptions, Strategy};
use fourbit::plan::PlanOptions;

use super::args::{PlanArgs, RecipeArgs};
use super::device_map::{self, Maps};
use super::{Answer, print};

mod diff;
pub(crate) mod fold;
mod listing;
mod lookup;
mod why;

pub(crate) use listing::folded_names;

pub(crate) fn run(args: &PlanArgs) -> Result<Answer> {
    let checkpoint = Checkpoint::open(&args.model_dir)?;
    let device_map = device_map::options(&args.devices)?;
    // A computed map that offloads is shown before it is refused.
    let shown = device_map.clone().map(|asked| DeviceMapOptions {
        offload: asked.offload || !matches!(asked.strategy, Strategy::Explicit(_)),
        ..asked
    });
    let options = PlanOptions { device_map: shown, ..options(&args.recipe) };
    if let [a, b] = args.diff[..] {
        let (text, same) = diff::run(&checkpoint, &options, [a, b], args.run.json)?;
        say(args, &text);
        return Ok(if same { Answer::Yes } else { Answer::No });
    }
    let plan = checkpoint.plan(&options)?;
    if let Some(name) = &args.why {
        say(args, &why::run(&checkpoint, &plan, &options, name, args.run.json)?);
        return Ok(Answer::Yes);
    }
    let maps = device_map.as_ref().map(|asked| Maps::new(&checkpoint, &plan, &options.spec, asked));
    let maps = maps.transpose()?;
    if args.run.json {
        let text = match &maps {
            None => plan.to_json(),
            Some(maps) => {
                let mut value = plan.to_value();
                value["device_map"] = maps.to_value();
                serde_json::to_string_pretty(&value).unwrap_or_default()
            }
        };
        say(args, &text);
    } else {
        let mut text = listing::text(&checkpoint, &plan, &options.spec, args.full)?;
        if let Some(maps) = &maps {
            text += &format!("\n\n{}", maps.text());
        }
        say(args, &text);
    }
    maps.map_or(Ok(()), |maps| maps.verdict).map(|()| Answer::Yes)
}

fn say(args: &PlanArgs, text: &str) {
    if !args.run.quiet {
        print(text);
    }
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
