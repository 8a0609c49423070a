//! Translates queries and the tables they read.

use sqlparser::ast::{
    Cte, CteAsMaterialized, Distinct, Expr, GroupByExpr, Join, JoinConstraint, JoinOperator, LimitClause,
    NamedWindowDefinition, NamedWindowExpr, Offset, OrderBy, OrderByExpr, OrderByKind, OrderByOptions, OrderBySort,
    Query, Select, SelectFlavor, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, SetOperator, SetQuantifier,
    TableAlias, TableFactor, TableWithJoins, Values, WildcardAdditionalOptions, With,
};

use super::writer::{Writer, Written};
use super::{denied, invalid};

impl Writer<'_> {
    pub(super) fn query(&mut self, query: &Query) -> Written {
        self.query_begins(query)?;
        self.parts(&query.body)?;
        if let Some(order) = &query.order_by {
            self.order(order)?;
        }
        query.limit_clause.as_ref().map_or(Ok(()), |limit| self.limit(limit))
    }

    /// Writes WITH, and refuses clauses that SQLite does not have.
    pub(super) fn query_begins(&mut self, query: &Query) -> Written {
        let Query { with, body: _, order_by: _, limit_clause: _, .. } = query;
        if !query.locks.is_empty() || query.for_clause.is_some() {
            return Err(invalid("SQLite has no FOR at the end of a query"));
        }
        let strange = query.settings.is_some() || query.format_clause.is_some() || !query.pipe_operators.is_empty();
        if strange || query.fetch.is_some() {
            return Err(invalid("SQLite does not support this clause of a query"));
        }
        with.as_ref().map_or(Ok(()), |with| self.with(with))
    }

    fn with(&mut self, with: &With) -> Written {
        let With { with_token: _, recursive, cte_tables } = with;
        self.put(if *recursive { "WITH RECURSIVE " } else { "WITH " });
        self.list(cte_tables, Self::common_table)?;
        self.put(" ");
        Ok(())
    }

    fn common_table(&mut self, table: &Cte) -> Written {
        let Cte { alias, query, from, materialized, closing_paren_token: _ } = table;
        let TableAlias { explicit: _, name, columns, at } = alias;
        if from.is_some() || at.is_some() || columns.iter().any(|column| column.data_type.is_some()) {
            return Err(invalid("SQLite does not support this WITH"));
        }
        self.bare_table(name)?;
        if !columns.is_empty() {
            self.put(" ");
            self.parentheses(|writer| writer.list(columns, |writer, column| writer.column(&column.name)))?;
        }
        self.put(match materialized {
            None => " AS ",
            Some(CteAsMaterialized::Materialized) => " AS MATERIALIZED ",
            Some(CteAsMaterialized::NotMaterialized) => " AS NOT MATERIALIZED ",
        });
        self.parentheses(|writer| writer.query(query))
    }

    /// Writes the parts of a UNION, EXCEPT or INTERSECT, or the only SELECT.
    ///
    /// SQLite evaluates these operators from left to right. PostgreSQL evaluates INTERSECT first, so the parts
    /// before it get parentheses.
    fn parts(&mut self, body: &SetExpr) -> Written {
        let mut parts = Vec::new();
        flatten(body, None, &mut parts);
        let words = parts.iter().map(|(operator, _)| operator.map_or(Ok(""), word)).collect::<Result<Vec<_>, _>>()?;
        let is_split = |at: usize| words[at] == " INTERSECT " && words[1..at].iter().any(|word| *word != words[at]);
        let splits = (1..words.len()).filter(|at| is_split(*at)).collect::<Vec<_>>();
        self.put(&"(".repeat(splits.len()));
        for (at, (_, part)) in parts.into_iter().enumerate() {
            self.put(if splits.contains(&at) { ")" } else { "" });
            self.put(words[at]);
            self.part(part)?;
        }
        Ok(())
    }

    fn part(&mut self, part: &SetExpr) -> Written {
        match part {
            SetExpr::Select(select) => self.select(select),
            SetExpr::Values(values) => self.values(values),
            SetExpr::Query(_) => {
                Err(invalid("SQLite has no parentheses around the parts of UNION, EXCEPT and INTERSECT"))
            }
            SetExpr::Table(_) => Err(invalid("SQLite has no TABLE: write SELECT * FROM")),
            _ => Err(invalid("a statement inside another one must not write")),
        }
    }

    fn values(&mut self, values: &Values) -> Written {
        let Values { explicit_row, value_keyword, rows } = values;
        if *explicit_row || *value_keyword || rows.iter().any(|row| row.content.is_empty()) {
            return Err(invalid("SQLite does not support this form of VALUES"));
        }
        self.put("VALUES ");
        self.list(rows, |writer, row| writer.tuple(&row.content))
    }

    fn select(&mut self, select: &Select) -> Written {
        select_is_plain(select)?;
        self.put("SELECT ");
        match &select.distinct {
            None => {}
            Some(Distinct::Distinct) => self.put("DISTINCT "),
            Some(Distinct::All) => self.put("ALL "),
            Some(Distinct::On(_)) => return Err(invalid("SQLite has no DISTINCT ON")),
        }
        if select.projection.is_empty() {
            return Err(invalid("a SELECT needs at least one column"));
        }
        self.list(&select.projection, Self::selected)?;
        if !select.from.is_empty() {
            self.put(" FROM ");
            self.list(&select.from, Self::joined)?;
        }
        self.condition(" WHERE ", select.selection.as_ref())?;
        self.group(&select.group_by)?;
        self.condition(" HAVING ", select.having.as_ref())?;
        if select.named_window.is_empty() {
            return Ok(());
        }
        self.put(" WINDOW ");
        self.list(&select.named_window, Self::named_window)
    }

    /// Writes a keyword and its condition, if there is one.
    pub(super) fn condition(&mut self, word: &str, condition: Option<&Expr>) -> Written {
        condition.map_or(Ok(()), |condition| {
            self.put(word);
            self.expression(condition)
        })
    }

    fn named_window(&mut self, window: &NamedWindowDefinition) -> Written {
        let NamedWindowDefinition(name, NamedWindowExpr::WindowSpec(window)) = window else {
            return Err(invalid("a window must not only name another window"));
        };
        self.name(name)?;
        self.put(" AS ");
        self.window(window)
    }

    fn group(&mut self, group: &GroupByExpr) -> Written {
        match group {
            GroupByExpr::Expressions(columns, modifiers) if modifiers.is_empty() && columns.is_empty() => Ok(()),
            GroupByExpr::Expressions(columns, modifiers) if modifiers.is_empty() => {
                self.put(" GROUP BY ");
                self.list(columns, Self::expression)
            }
            _ => Err(invalid("SQLite does not support this GROUP BY")),
        }
    }

    pub(super) fn returning(&mut self, returning: Option<&Vec<SelectItem>>) -> Written {
        returning.map_or(Ok(()), |items| {
            self.put(" RETURNING ");
            self.list(items, Self::selected)
        })
    }

    fn selected(&mut self, item: &SelectItem) -> Written {
        match item {
            SelectItem::UnnamedExpr(value) => self.expression(value),
            SelectItem::ExprWithAlias { expr, alias } => {
                self.expression(expr)?;
                self.put(" AS ");
                self.name(alias)
            }
            SelectItem::Wildcard(options) if *options == WildcardAdditionalOptions::default() => {
                self.put("*");
                Ok(())
            }
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(table), options)
                if *options == WildcardAdditionalOptions::default() =>
            {
                self.table(table)?;
                self.put(".*");
                Ok(())
            }
            _ => Err(invalid("SQLite does not support this result column")),
        }
    }

    pub(super) fn joined(&mut self, table: &TableWithJoins) -> Written {
        let TableWithJoins { relation, joins } = table;
        self.relation(relation)?;
        joins.iter().try_for_each(|join| self.join(join))
    }

    fn join(&mut self, join: &Join) -> Written {
        let Join { relation, global, join_operator } = join;
        let (word, constraint) = match join_operator {
            JoinOperator::Join(JoinConstraint::None) | JoinOperator::Inner(JoinConstraint::None) => {
                ("CROSS JOIN ", &JoinConstraint::None)
            }
            JoinOperator::CrossJoin(JoinConstraint::None) => ("CROSS JOIN ", &JoinConstraint::None),
            JoinOperator::Join(on) | JoinOperator::Inner(on) => ("JOIN ", on),
            JoinOperator::Left(on) | JoinOperator::LeftOuter(on) => ("LEFT JOIN ", on),
            JoinOperator::Right(on) | JoinOperator::RightOuter(on) => ("RIGHT JOIN ", on),
            JoinOperator::FullOuter(on) => ("FULL JOIN ", on),
            _ => return Err(invalid("SQLite does not support this JOIN")),
        };
        if *global {
            return Err(invalid("SQLite does not support this JOIN"));
        }
        self.put(if *constraint == JoinConstraint::Natural { " NATURAL " } else { " " });
        self.put(word);
        self.relation(relation)?;
        match constraint {
            JoinConstraint::None if !word.starts_with("CROSS") => Err(invalid(format!("a {word}needs ON"))),
            JoinConstraint::None | JoinConstraint::Natural => Ok(()),
            JoinConstraint::On(condition) => self.condition(" ON ", Some(condition)),
            JoinConstraint::Using(columns) => {
                self.put(" USING");
                self.parentheses(|writer| writer.list(columns, Self::column_of))
            }
        }
    }

    fn relation(&mut self, relation: &TableFactor) -> Written {
        match relation {
            TableFactor::Table { name, alias, .. } if is_plain(relation) => {
                self.table(name)?;
                self.alias(alias.as_ref())
            }
            TableFactor::Derived { lateral: false, subquery, alias, sample: None } => {
                self.parentheses(|writer| writer.query(subquery))?;
                if alias.is_none() {
                    self.subquery_alias();
                }
                self.alias(alias.as_ref())
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                self.parentheses(|writer| writer.joined(table_with_joins))
            }
            TableFactor::Table { args: Some(_), .. }
            | TableFactor::TableFunction { .. }
            | TableFactor::Function { .. } => Err(denied("a function in place of a table")),
            _ => Err(invalid("SQLite does not support this kind of table in FROM")),
        }
    }

    fn alias(&mut self, alias: Option<&TableAlias>) -> Written {
        match alias {
            None => Ok(()),
            Some(TableAlias { explicit: _, name, columns, at: None }) if columns.is_empty() => self.table_alias(name),
            Some(_) => Err(invalid("SQLite has no column names after a table's alias")),
        }
    }

    fn order(&mut self, order: &OrderBy) -> Written {
        let OrderBy { kind: OrderByKind::Expressions(order), interpolate: None } = order else {
            return Err(invalid("SQLite does not support this ORDER BY"));
        };
        self.put(" ORDER BY ");
        self.list(order, Self::ordered)
    }

    pub(super) fn ordered(&mut self, order: &OrderByExpr) -> Written {
        let OrderByExpr { expr, options, with_fill } = order;
        if with_fill.is_some() {
            return Err(invalid("SQLite does not support this ORDER BY"));
        }
        self.expression(expr)?;
        self.direction(options)
    }

    pub(super) fn direction(&mut self, options: &OrderByOptions) -> Written {
        self.put(match options.sort {
            None => "",
            Some(OrderBySort::Asc) => " ASC",
            Some(OrderBySort::Desc) => " DESC",
            Some(OrderBySort::Using(_)) => return Err(invalid("SQLite does not support this ORDER BY")),
        });
        self.put(match options.nulls_first {
            None => "",
            Some(true) => " NULLS FIRST",
            Some(false) => " NULLS LAST",
        });
        Ok(())
    }

    fn limit(&mut self, limit: &LimitClause) -> Written {
        let (limit, offset) = match limit {
            LimitClause::LimitOffset { limit, offset, limit_by } if limit_by.is_empty() => {
                (limit.as_ref(), offset.as_ref().map(|Offset { value, rows: _ }| value))
            }
            LimitClause::LimitOffset { .. } => return Err(invalid("SQLite does not support this LIMIT")),
            LimitClause::OffsetCommaLimit { offset, limit } => (Some(limit), Some(offset)),
        };
        if let Some(limit) = limit {
            self.put(" LIMIT ");
            self.operand(limit)?;
        }
        if let Some(offset) = offset {
            self.put(" OFFSET ");
            self.operand(offset)?;
        }
        Ok(())
    }
}

type Part<'q> = (Option<(&'q SetOperator, &'q SetQuantifier)>, &'q SetExpr);

/// The parts of a query in order, each with the operator before it.
///
/// Their depth is limited.
fn flatten<'q>(body: &'q SetExpr, before: Option<(&'q SetOperator, &'q SetQuantifier)>, parts: &mut Vec<Part<'q>>) {
    match body {
        SetExpr::SetOperation { left, op, set_quantifier, right } => {
            flatten(left, before, parts);
            flatten(right, Some((op, set_quantifier)), parts);
        }
        _ => parts.push((before, body)),
    }
}

fn word(operator: (&SetOperator, &SetQuantifier)) -> Result<&'static str, crate::StorageError> {
    match operator {
        (SetOperator::Union, SetQuantifier::None) => Ok(" UNION "),
        (SetOperator::Union, SetQuantifier::All) => Ok(" UNION ALL "),
        (SetOperator::Except, SetQuantifier::None) => Ok(" EXCEPT "),
        (SetOperator::Intersect, SetQuantifier::None) => Ok(" INTERSECT "),
        _ => Err(invalid("SQLite has only UNION, UNION ALL, EXCEPT and INTERSECT")),
    }
}

fn select_is_plain(select: &Select) -> Written {
    if select.into.is_some() {
        return Err(denied("SELECT INTO"));
    }
    let reads = select.top.is_some() || select.exclude.is_some() || select.value_table_mode.is_some();
    let modified = select.select_modifiers.is_some() || select.flavor != SelectFlavor::Standard;
    let filters = select.prewhere.is_some() || select.qualify.is_some() || !select.connect_by.is_empty();
    let sorts = !(select.cluster_by.is_empty() && select.distribute_by.is_empty() && select.sort_by.is_empty());
    if reads || modified || filters || sorts || !select.lateral_views.is_empty() {
        return Err(invalid("SQLite does not support this clause of SELECT"));
    }
    Ok(())
}

/// Whether a table consists only of a name and an alias.
fn is_plain(table: &TableFactor) -> bool {
    let TableFactor::Table {
        name: _,
        alias: _,
        args: None,
        with_hints,
        version: None,
        with_ordinality: false,
        partitions,
        json_path: None,
        sample: None,
        index_hints,
    } = table
    else {
        return false;
    };
    with_hints.is_empty() && partitions.is_empty() && index_hints.is_empty()
}
