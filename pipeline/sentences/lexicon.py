"""Words of English that say something about the sentence, or the line, that they stand in."""


def listed(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text.split())


STOP_WORDS = frozenset(
    listed("""
        a about above across after again against all almost alone along already also although always am among
        an and another any anybody anyone anything anywhere are around as at away b back be became because
        become becomes been before behind being below between both but by c call can cannot cant could d de
        did didn do does doesn doing don done down during e each eg either else elsewhere enough etc even ever
        every everyone everything everywhere except few for former found from further g get go had hadn has
        hasn have haven he hence her here hers herself him himself his how however i ie if in inc indeed
        instead into is isn it its itself just k keep last latter least less let like ll ltd made many may
        maybe me meanwhile might mine more moreover most mostly much must my myself name namely neither never
        nevertheless next no nobody none nor not nothing now nowhere o of off often oh on once one only onto
        or other others otherwise our ours ourselves out over own part per perhaps please put quite rather re
        s same say see seem seemed seems several she should shouldn show side since so some somehow someone
        something sometime sometimes somewhere still such t take than that the their theirs them themselves
        then thence there thereby therefore these they this those though through throughout thru thus to
        together too toward towards u under until up upon us ve very via was wasn we well were weren what
        whatever when whenever where whereas whether which while who whoever whole whom whose why will with
        within without won would wouldn x y yeah yes yet you your yours yourself yourselves z uh um uhm mm hmm
        mmhmm okay ok er huh ah
    """)
)
"""Words that are about nothing."""
COMMON = listed("""
    the to of and a in that i is it for you as we s with be this on was are have not or at by but an he can from
    had so if they t my will which she one all there his what would her me when more do about were their has no
    been like then some uh your these other could well out into him up
""")
"""Words of which each has a weight of its own."""
MEANINGS = {
    "third_person": listed("he she him her his"),
    "first_person": listed("i my me mine myself"),
    "first_plural": listed("we our us ours"),
    "second_person": listed("you your yours"),
    "they": listed("they their them theirs"),
    "it": listed("it its"),
    "article": listed("the a an"),
    "aim": listed("overall goal goals purpose aim aims aimed main key summary conclusion brief objective general"),
    "finding": listed("""
        show shows showed shown find finds found propose present presents report reports demonstrate
        demonstrates demonstrated identify identified conclude suggest suggests develop developed results
        findings study analysis
    """),
    "proposal": listed("""
        proposes proposed proposal introduces introduce introduced specifies specify specification provides
        provide allows allow enables enable defines define describes describe standard feature document
    """),
    "definition": listed("called known refers means defined term terms definition"),
    "result": listed("""
        result significant significantly associated increase increased increases decrease decreased compared
        effect effects higher lower
    """),
    "talk": listed("""
        discuss discussed discussing decide decided decision agree agreed suggest suggested meeting project
        plan question problem issue think should
    """),
    "reference": listed("example instance eg note see figure table fig section chapter below following"),
    "reason": listed("motivation because since therefore order need needs problem currently today"),
    "duty": listed("must shall should may required"),
    "said": listed("said asked replied cried answered thought says shouted whispered"),
    "legal": listed("""
        copyright licence license licensed gutenberg transcriber http https www isbn doi rights reserved
        proofreading
    """),
    "lesson": listed("learning objectives objective exercise exercises check"),
    "filler": listed("uh um uhm mm hmm mmhmm yeah okay ok oh er huh ah yep alright disfmarker vocalsound"),
    "question": listed("who what when where why how"),
    "negation": listed("not no never nor neither cannot don didn doesn isn wasn"),
    "pair": listed("is are was were"),
    "research": listed("""
        show find found propose present describe report demonstrate conclude suggest developed used
        investigate
    """),
    "work": listed("paper study article work report document proposal pep eip rfc specification chapter book meeting"),
    "leans": listed("he she it they him her his their its this these those that such here there"),
    "joins": listed("""
        and but so or nor however therefore thus also then moreover furthermore instead hence additionally
        similarly otherwise likewise consequently finally second third yet still meanwhile nevertheless
        nonetheless besides accordingly
    """),
    "verb": listed("""
        is are was were be been am has have had do does did will would shall should can could may might must
        need needs s re ve ll d m t said say says see saw seen know knew known think thought go goes went gone
        come comes came take takes took taken make makes made get gets got give gives gave given find finds
        found use uses show shows want wants let lets put keep keeps kept mean means become becomes became begin
        begins began seem seems tell tells told feel feels felt bring brings brought help helps include includes
        provide provides allow allows require requires contain contains define defines describe describes
        propose proposes send sends sent meet meets met stand stands stood lie lies lay sit sat run runs ran
        hold holds held lead leads led rise rises rose fall falls fell speak speaks spoke write writes wrote
        written read reads build builds built lose loses lost pay pays paid buy sells sold win wins won spend
        spent cut hit set sets left leave leaves live lives work works
    """),
    "depends": listed("when while if although though because whereas unless until which whose where"),
    "demonstrative": listed("this that these those such"),
    "preposition": listed("in on at for from with by to under after before despite of as through during"),
    "instruction": listed("""
        find read watch recall consider suppose assume solve calculate determine compute draw write explain discuss
        imagine try click visit refer check remember notice let lets see note conduct interpret
    """),
    "courtesy": listed("let lets welcome thank thanks sorry hello hi goodbye bye"),
    "chair": listed("""
        agenda minutes slide slides presentation presentations powerpoint questionnaire whiteboard apologies
    """),
    "pointing": listed("following former latter aforementioned foregoing"),
}
"""What a word may say, and the words that say it."""
FILLERS = listed("uh uhh um umm uhm er erm mm hm hmm mhm mmm mm-hmm uh-huh eh ah huh disfmarker vocalsound")
"""Sounds of hesitation and the marks of transcripts."""
OPENINGS = listed("and but so well oh okay ok okey 'kay yeah yep alright anyway because 'cause plus")
"""Words that open a turn and say nothing."""
ENDINGS = {"past": "ed", "going": "ing", "manner": "ly", "abstract": "ion"}
ABBREVIATIONS = frozenset(
    listed("""
        mr mrs ms dr prof st sr jr vs fig figs eq eqs ref refs sec no nos vol pp cf al e.g i.e eg ie viz
        approx ca dept gen col capt lt sgt rev hon inc ltd co corp jan feb mar apr jun jul aug sep sept oct
        nov dec ch ed eds resp incl mt ft messrs mme mlle u.s u.k art para cl v d.c ph.d m.d b.a m.a
    """)
)
"""Without the period that ends them."""
NO_SPEAKERS = frozenset(
    listed("""
        note warning example figure table source question answer abstract keywords http https todo caution tip
        important introduction summary conclusion background definition theorem proof remark step chapter
        section part
    """)
)
"""What stands before a colon and is nobody's name."""
