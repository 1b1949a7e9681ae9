//! `fourbit merge`: the last step after `quantize --part`.

use serde_json::json;

use fourbit::Result;
use fourbit::checkpoint::merge_parts;

use super::args::MergeArgs;
use super::{Answer, print, table};

pub(crate) fn run(args: &MergeArgs) -> Result<Answer> {
    let report = merge_parts(&args.out_dir)?;
    if args.json {
        let files: Vec<String> = report.files.iter().map(|f| f.display().to_string()).collect();
        let result = json!({
            "out_dir": args.out_dir.display().to_string(),
            "bytes_after": report.total_size,
            "shards": report.shards,
            "files": files,
        });
        print(&format!("{result:#}"));
    } else if !args.quiet {
        print(&format!(
            "{}: complete: {} in {} file(s)",
            args.out_dir.display(),
            table::bytes(report.total_size),
            report.shards
        ));
    }
    Ok(Answer::Yes)
}
