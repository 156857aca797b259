"""support_agent.py [PHOTO [VOICE]]: a complaint in three turns; an empty argument is left out."""

import sys

import trine

photo, voice, *_ = [*sys.argv[1:], "", ""]
agent = trine.SupportAgent()  # the default model, its templates and its catalogue
conversation = trine.Conversation()


def turn(what, **message):
    reply = agent.handle(**message, conversation=conversation)
    print(f"> {what}\n{reply}")
    for finding in reply.findings:
        print(f"    {finding.fact}: {finding.value} ({finding.source})")
    for modality, why in reply.unread:
        print(f"{modality}: {why}", file=sys.stderr)


complaint = "The lemons I got from you are squashed!"
turn(complaint, text=complaint)
turn("It was order 10293.", text="It was order 10293.")
if photo:
    turn("(a photo)", image=photo)
if voice:
    turn("(a recording)", audio=voice)
