"""What verbs share, by what a run needs one after the other.

what is asked     keys, signatures (what values may be), settings, networks, instantiate, specs (the entries of the
                  report); from_python, guest
images            sources (references by name, files elsewhere), roles, views (pairs, prompts), moments (stored ones)
rows              measuring, progress, environment (processes, machine), folder
numbers           judging, floors, by_class, auditing (and all that is said beside the numbers), harm
finished runs     finished (where they are, their rows), differences, rules
lists, tables     metric_list, recipes
"""
