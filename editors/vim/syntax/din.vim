if exists("b:current_syntax")
  finish
endif

syntax keyword dinImport use edition
syntax keyword dinDefinition fn model schema test optimizer regularizer metric
syntax keyword dinMember features sequence label key embedding hyper predict output train report assert common request
syntax keyword dinStatement let layer param constant state update given expect
syntax keyword dinControl if else for in
syntax keyword dinOperatorWord and or not where over as
syntax keyword dinBoolean true false training
syntax keyword dinOther from of each on missing mark keep known before after pooled weighted per with when within by
syntax keyword dinSetting loss regularize batch epochs seed select patience clip init admit
syntax match dinKind /\v:\s*\zs(category|number|binary|count|class|int64|string|int|float|non_negative|positive|fraction|list|bool|text|prediction|label|key)>/
syntax match dinNumber /\v<\d[0-9_]*(\.\d[0-9_]*)?([eE][+-]?\d+)?\a*/
syntax match dinCall /\v<\h\w*\ze\(/
syntax match dinField /\v(\w|\)|\])@1<=\.\zs\h\w*/
syntax match dinOperator /->\|=>\|==\|!=\|<=\|>=\|\.\.\|[-+*@^<>=~]/
syntax region dinString start=/"/ skip=/\\./ end=/"\|$/
syntax match dinComment /\/\/.*$/ contains=dinTodo,@Spell
syntax match dinDoc /\/\/[\/!].*$/ contains=@Spell
syntax keyword dinTodo TODO FIXME contained

highlight default link dinImport Include
highlight default link dinDefinition Structure
highlight default link dinMember Keyword
highlight default link dinStatement Keyword
highlight default link dinControl Conditional
highlight default link dinOperatorWord Operator
highlight default link dinBoolean Boolean
highlight default link dinOther Keyword
highlight default link dinSetting Keyword
highlight default link dinKind Type
highlight default link dinNumber Number
highlight default link dinCall Function
highlight default link dinField Identifier
highlight default link dinOperator Operator
highlight default link dinString String
highlight default link dinComment Comment
highlight default link dinDoc SpecialComment
highlight default link dinTodo Todo

let b:current_syntax = "din"
