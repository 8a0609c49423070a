//! Translates statements that change the schema.

use sqlparser::ast::helpers::stmt_create_table::CreateTableBuilder;
use sqlparser::ast::{
    AlterTable, AlterTableOperation, CreateIndex, CreateTable, DataType, Expr, Ident, IndexColumn, ObjectName,
    ObjectType, OrderByExpr, RenameTableNameKind, Statement, TableConstraint, UnaryOperator, Value,
};
use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::StorageError;

use super::writer::{Writer, Written};
use super::{IN_A_MIGRATION, Index, denied, grammar, invalid, tokens};

/// Translates a statement that begins with CREATE, ALTER or DROP. Returns its index too, if it creates a plain one.
pub(super) fn statement(mut words: Vec<TokenWithSpan>) -> Result<(String, Option<Index>), StorageError> {
    tokens::bounded(&words)?;
    let kind = [tokens::word(words.first()), tokens::word(words.get(1))].map(Option::unwrap_or_default);
    let mut writer = Writer::new(&IN_A_MIGRATION);
    let mut name = None;
    match [kind[0].as_str(), kind[1].as_str()] {
        ["CREATE", "TABLE"] => {
            let has_rowid = cut_table_options(&mut words)?;
            writer.create_table(words, has_rowid)?;
        }
        ["CREATE", "INDEX" | "UNIQUE"] | ["ALTER", "TABLE"] | ["DROP", "TABLE" | "INDEX"] => {
            let statement = grammar::parse(words)?;
            writer.schema(&statement)?;
            name = name_of_plain_index(statement);
        }
        ["CREATE" | "DROP", "VIEW"] => {
            return Err(invalid("views do not work on PostgreSQL: write the query in place of the view"));
        }
        ["CREATE" | "DROP", "TRIGGER"] => return Err(invalid("triggers do not work on PostgreSQL")),
        ["CREATE", "TEMP" | "TEMPORARY"] => return Err(invalid("TEMP tables and indexes do not work on PostgreSQL")),
        ["CREATE", "VIRTUAL"] => return Err(invalid("virtual tables do not work on PostgreSQL")),
        [verb, what] => return Err(denied(super::shown(&format!("{verb} {what}")))),
    }
    let (sql, _) = writer.finish()?;
    let index = name.map(|name| Index::new(&name, &sql)).transpose()?.flatten();
    Ok((sql, index))
}

/// The name of the index that a statement creates, unless the index is unique.
fn name_of_plain_index(statement: Statement) -> Option<ObjectName> {
    match statement {
        Statement::CreateIndex(CreateIndex { name, unique: false, .. }) => name,
        _ => None,
    }
}

impl Index {
    /// Takes the index apart that a translated statement creates.
    fn new(name: &ObjectName, sql: &str) -> Result<Option<Self>, StorageError> {
        let mut writer = Writer::new(&IN_A_MIGRATION);
        writer.table(name)?;
        let (name, _) = writer.finish()?;
        let definition = sql.split_once(&format!("{name} ")).map(|(_, definition)| definition.to_owned());
        Ok(definition.map(|definition| Self { name, definition }))
    }
}

/// Removes STRICT and WITHOUT ROWID, which PostgreSQL does not have.
///
/// Returns whether the table has a rowid.
fn cut_table_options(words: &mut Vec<TokenWithSpan>) -> Result<bool, StorageError> {
    let end = words.iter().rposition(|word| word.token == Token::RParen).map_or(0, |last| last + 1);
    let options = if end == 0 { Vec::new() } else { words.split_off(end) };
    let mut has_rowid = true;
    let mut is_first = true;
    let mut rest = options.as_slice();
    while !rest.is_empty() {
        if !is_first {
            let [comma, others @ ..] = rest else { break };
            if comma.token != Token::Comma {
                return Err(no_table_option());
            }
            rest = others;
        }
        is_first = false;
        rest = match (tokens::word(rest.first()).as_deref(), tokens::word(rest.get(1)).as_deref()) {
            (Some("STRICT"), _) => &rest[1..],
            (Some("WITHOUT"), Some("ROWID")) => {
                has_rowid = false;
                &rest[2..]
            }
            _ => return Err(no_table_option()),
        };
    }
    Ok(has_rowid)
}

fn no_table_option() -> StorageError {
    invalid("only STRICT and WITHOUT ROWID are allowed after the columns of a table")
}

impl Writer<'_> {
    fn schema(&mut self, statement: &Statement) -> Written {
        match statement {
            Statement::CreateIndex(index) => self.create_index(index),
            Statement::AlterTable(alter) => self.alter_table(alter),
            Statement::Drop { .. } => self.drop(statement),
            _ => Err(denied("this kind of statement")),
        }
    }

    fn create_table(&mut self, words: Vec<TokenWithSpan>, has_rowid: bool) -> Written {
        let Statement::CreateTable(table) = grammar::parse(words)? else {
            return Err(denied("this kind of statement"));
        };
        table_is_plain(&table)?;
        self.put("CREATE TABLE ");
        self.put(if table.if_not_exists { "IF NOT EXISTS " } else { "" });
        self.table(&table.name)?;
        let row_id = row_id_of_the_table(&table.constraints).filter(|_| has_rowid);
        self.put(" (");
        self.list(&table.columns, |writer, column| {
            let is_row_id = row_id.is_some_and(|name| name.value.eq_ignore_ascii_case(&column.name.value));
            writer.column_definition(column, has_rowid, is_row_id)
        })?;
        for constraint in &table.constraints {
            self.put(", ");
            self.table_constraint(constraint)?;
        }
        self.put(")");
        Ok(())
    }

    fn create_index(&mut self, index: &CreateIndex) -> Written {
        let CreateIndex { name, table_name, columns, unique, if_not_exists, predicate, .. } = index;
        let placed = index.using.is_some() || index.concurrently || index.r#async || !index.include.is_empty();
        let tuned = index.nulls_distinct.is_some() || !index.with.is_empty() || !index.index_options.is_empty();
        let Some(name) = name.as_ref().filter(|_| !placed && !tuned && index.alter_options.is_empty()) else {
            return Err(invalid("SQLite does not support this CREATE INDEX"));
        };
        self.put(if *unique { "CREATE UNIQUE INDEX " } else { "CREATE INDEX " });
        self.put(if *if_not_exists { "IF NOT EXISTS " } else { "" });
        self.table(name)?;
        self.put(" ON ");
        self.table(table_name)?;
        self.put(" ");
        self.parentheses(|writer| writer.list(columns, Self::index_column))?;
        self.condition(" WHERE ", predicate.as_ref())
    }

    fn index_column(&mut self, column: &IndexColumn) -> Written {
        let IndexColumn { column: OrderByExpr { expr, options, with_fill: None }, operator_class: None } = column
        else {
            return Err(invalid("SQLite does not support this column of an index"));
        };
        match expr {
            Expr::Identifier(name) => self.column(name)?,
            Expr::Collate { expr, collation } if matches!(**expr, Expr::Identifier(_)) => {
                super::expression::collation_is_binary(collation)?;
                self.expression(expr)?;
                self.put(" COLLATE \"C\"");
            }
            Expr::Nested(_) => self.expression(expr)?,
            _ => self.parentheses(|writer| writer.expression(expr))?,
        }
        self.direction(options)
    }

    fn alter_table(&mut self, alter: &AlterTable) -> Written {
        let AlterTable { name, if_exists, only, operations, location, on_cluster, table_type, end_token: _ } = alter;
        let strange = *if_exists || *only || location.is_some() || on_cluster.is_some() || table_type.is_some();
        let [operation] = operations.as_slice() else {
            return Err(invalid("ALTER TABLE allows only one change"));
        };
        if strange {
            return Err(invalid("SQLite does not support this ALTER TABLE"));
        }
        self.put("ALTER TABLE ");
        self.table(name)?;
        self.put(" ");
        self.alteration(operation)
    }

    fn alteration(&mut self, operation: &AlterTableOperation) -> Written {
        match operation {
            AlterTableOperation::AddColumn { if_not_exists: false, column_def, column_position: None, .. } => {
                self.put("ADD COLUMN ");
                self.column_definition(column_def, true, false)
            }
            AlterTableOperation::RenameTable { table_name: RenameTableNameKind::To(name) } => {
                self.put("RENAME TO ");
                self.table(name)
            }
            AlterTableOperation::RenameColumn { old_column_name, new_column_name } => {
                self.put("RENAME COLUMN ");
                self.column(old_column_name)?;
                self.put(" TO ");
                self.column(new_column_name)
            }
            AlterTableOperation::DropColumn { column_names, if_exists: false, drop_behavior: None, .. }
                if column_names.len() == 1 =>
            {
                self.put("DROP COLUMN ");
                self.list(column_names, Self::column)
            }
            _ => Err(invalid("ALTER TABLE allows only ADD COLUMN, RENAME TO, RENAME COLUMN and DROP COLUMN")),
        }
    }

    fn drop(&mut self, statement: &Statement) -> Written {
        let Statement::Drop {
            object_type,
            if_exists,
            names,
            cascade: false,
            restrict: false,
            purge: false,
            temporary: false,
            table: None,
        } = statement
        else {
            return Err(invalid("SQLite does not support this DROP"));
        };
        self.put(match object_type {
            ObjectType::Table => "DROP TABLE ",
            ObjectType::Index => "DROP INDEX ",
            _ => return Err(denied("this kind of DROP")),
        });
        let [name] = names.as_slice() else {
            return Err(invalid("DROP allows only one name"));
        };
        self.put(if *if_exists { "IF EXISTS " } else { "" });
        self.table(name)
    }

    /// Writes the default of a column, which must be a literal.
    pub(super) fn default_value(&mut self, value: &Expr) -> Written {
        match value {
            Expr::Value(value) if !matches!(value.value, Value::Placeholder(_)) => self.literal(&value.value),
            Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr } => match expr.as_ref() {
                Expr::Value(number) if matches!(number.value, Value::Number(..)) => self.expression(value),
                _ => Err(invalid("DEFAULT allows only a number, a text, a blob or NULL")),
            },
            Expr::Nested(inner) => self.default_value(inner),
            _ => Err(invalid("DEFAULT allows only a number, a text, a blob or NULL")),
        }
    }
}

/// Refuses every clause of CREATE TABLE that the translation does not write.
fn table_is_plain(table: &CreateTable) -> Written {
    if table.query.is_some() || table.columns.is_empty() {
        return Err(invalid("CREATE TABLE needs columns: in place of AS, write an INSERT … SELECT after it"));
    }
    let plain = CreateTableBuilder::new(ObjectName(table.name.0.clone()))
        .if_not_exists(table.if_not_exists)
        .columns(table.columns.clone())
        .constraints(table.constraints.clone())
        .hive_formats(table.hive_formats.clone().filter(|formats| *formats == Default::default()))
        .build();
    if plain != *table {
        return Err(invalid("SQLite does not support this clause of CREATE TABLE"));
    }
    Ok(())
}

/// The only column of a primary key that the table declares, if there is one.
fn row_id_of_the_table(constraints: &[TableConstraint]) -> Option<&Ident> {
    constraints.iter().find_map(|constraint| match constraint {
        TableConstraint::PrimaryKey(key) => match key.columns.as_slice() {
            [IndexColumn { column: OrderByExpr { expr: Expr::Identifier(name), .. }, .. }] => Some(name),
            _ => None,
        },
        _ => None,
    })
}

/// Whether a primary key of this type is SQLite's rowid, which numbers itself.
pub(super) fn is_a_row_id(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Integer(None))
}
