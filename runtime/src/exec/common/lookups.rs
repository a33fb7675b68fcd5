//! What reads rows of a table in a training step, so that they count as updated, and where their
//! gradients come from.

use din_program::Program;
use din_program::axes::{AxisId, UniqueKeys};
use din_program::schedule::{ScheduleRoot, View};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Lookup {
    /// Position among the table's features.
    pub feature: usize,
    /// (unique axis, key) where the feature's rows are read once per distinct combination.
    pub unique: Option<(AxisId, u32)>,
    /// Of the row gradient.
    pub view: Option<View>,
}

/// By table: each feature at its ids, in the groups that have gradients for it, or both; none of a
/// frozen table, whose rows are not updated. The program was checked.
pub fn lookups(program: &Program) -> Vec<Vec<Lookup>> {
    let train = &program.train;
    let of_feature = |t: usize, feature: usize, number: u32| -> Vec<Lookup> {
        let mut all = Vec::new();
        for root in &train.roots {
            let ScheduleRoot::RowGradient { table, feature: f, view } = root else { continue };
            if (*table as usize, *f) != (t, number) {
                continue;
            }
            let axis = train.buffers[view.buffer.index()].axis;
            let key = |keys: &UniqueKeys| keys.keys.iter().position(|k| *k == (t as u32, number));
            let unique = train.axes.unique(axis).map(|keys| {
                let key = key(keys).expect("the program was checked: the axis has a key for its row gradient");
                (axis, key as u32)
            });
            all.push(Lookup { feature, unique, view: Some(*view) });
        }
        if all.is_empty() {
            all.push(Lookup { feature, unique: None, view: None });
        }
        all
    };
    let of_table = |(t, table): (usize, &din_program::schema::TableSpec)| {
        if table.frozen {
            return Vec::new();
        }
        table.features.iter().enumerate().flat_map(|(feature, &number)| of_feature(t, feature, number)).collect()
    };
    program.tables.iter().enumerate().map(of_table).collect()
}
