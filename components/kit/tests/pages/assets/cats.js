document.title += " – meow";
