//! What goes beside the weights, and the report on what was written.

use super::layout::Layout;
use super::output::{SideContent, SideFile, side_files};
use super::progress::{SaveOptions, SaveReport};
use super::reader::Checkpoint;
use super::writer::CheckpointWriter;
use crate::error::Result;

/// Publishes the written tensors with the files beside them.
pub(super) fn finish(
    checkpoint: &Checkpoint,
    layout: &Layout,
    writer: CheckpointWriter,
    options: &SaveOptions,
) -> Result<SaveReport> {
    let mut beside = copies(checkpoint, options)?;
    beside.extend(options.config.clone().map(config_file));
    let files = writer.finish(&beside)?;
    Ok(SaveReport { files, shards: layout.shards.len(), resumed: 0, total_size: layout.total_size })
}

/// The same for a part: its tensors, and perhaps files beside them.
pub(super) fn finish_part(
    layout: &Layout,
    writer: CheckpointWriter,
    beside: &[SideFile],
) -> Result<SaveReport> {
    let files = writer.finish_part(beside)?;
    Ok(SaveReport { files, shards: layout.shards.len(), resumed: 0, total_size: layout.total_size })
}

/// The copies of what lies beside the source's weights.
pub(super) fn copies(checkpoint: &Checkpoint, options: &SaveOptions) -> Result<Vec<SideFile>> {
    if options.copy_side_files { side_files(checkpoint.directory()) } else { Ok(Vec::new()) }
}

/// config.json with this text.
pub(super) fn config_file(text: String) -> SideFile {
    SideFile { name: "config.json".to_owned(), content: SideContent::Text(text) }
}
