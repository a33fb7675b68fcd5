//! Rows of the synthetic log as Arrow columns: Table 2's, `user_id`, and `click`.

use super::world::{Impression, World};
use arrow_array::builder::{Int64Builder, ListBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use std::sync::Arc;

/// Builders of one record batch; all numbers are int64, none is null.
#[derive(Default)]
pub struct Columns {
    /// In the order of [`PLAIN`].
    plain: [Vec<i64>; 9],
    lengths: Vec<usize>,
    goods: Vec<i64>,
    shops: Vec<i64>,
    cates: Vec<i64>,
}

const PLAIN: [&str; 9] = ["user_id", "gender", "age_level", "good_id", "shop_id", "cate_id", "pid", "time", "click"];
const LISTS: [&str; 3] = ["visited_good_ids", "visited_shop_ids", "visited_cate_ids"];

fn item() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Int64, false))
}

impl Columns {
    pub fn schema() -> SchemaRef {
        let plain = PLAIN.iter().map(|&name| Field::new(name, DataType::Int64, false));
        let lists = LISTS.iter().map(|&name| Field::new(name, DataType::List(item()), false));
        let mut fields: Vec<Field> = plain.chain(lists).collect();
        // The label stands last, behind the lists.
        let label = fields.remove(PLAIN.len() - 1);
        fields.push(label);
        Arc::new(Schema::new(fields))
    }

    /// `history` is of goods, oldest first.
    pub fn push(&mut self, i: &Impression, history: &[u32], world: &World) {
        let row = [
            i64::from(i.user) + 1,
            i64::from(i.gender),
            i64::from(i.age_level),
            id(i.good),
            i64::from(world.shop(i.good)) + 1,
            i64::from(world.category(i.good)) + 1,
            i64::from(i.pid),
            i64::from(i.time),
            i64::from(i.click),
        ];
        for (column, value) in self.plain.iter_mut().zip(row) {
            column.push(value);
        }
        self.lengths.push(history.len());
        for &good in history {
            self.goods.push(id(good));
            self.shops.push(i64::from(world.shop(good)) + 1);
            self.cates.push(i64::from(world.category(good)) + 1);
        }
    }

    pub fn finish(self, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
        let Columns { plain, lengths, goods, shops, cates } = self;
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(PLAIN.len() + LISTS.len());
        let mut plain = plain.into_iter().map(|values| -> ArrayRef { Arc::new(arrow_array::Int64Array::from(values)) });
        columns.extend(plain.by_ref().take(PLAIN.len() - 1));
        for values in [goods, shops, cates] {
            let mut list = ListBuilder::new(Int64Builder::with_capacity(values.len())).with_field(item());
            let mut values = values.into_iter();
            for &length in &lengths {
                list.values().append_slice(&values.by_ref().take(length).collect::<Vec<_>>());
                list.append(true);
            }
            columns.push(Arc::new(list.finish()));
        }
        columns.extend(plain);
        RecordBatch::try_new(schema.clone(), columns)
    }
}

/// Goods are numbered by category and popularity; their ids say nothing: a bijection of 32 bits,
/// from 1.
fn id(good: u32) -> i64 {
    i64::from(good.wrapping_mul(0x9E37_79B1) ^ 0x5bd1_e995) + 1
}
