from oyez.cli.demo.day import Day, Story


async def play(day: Day) -> None: ...


STORY = Story(play=play)
